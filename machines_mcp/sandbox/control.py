"""The control: actions for a test or a person that no caller of the API has."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox import cards, deposits, kyc, ledger, settlement, signatures, users
from machines_mcp.sandbox.clock import iso
from machines_mcp.sandbox.envelope import Success, not_found
from machines_mcp.sandbox.faults import Fault
from machines_mcp.sandbox.fields import MAX_CENTS
from machines_mcp.sandbox.operations import OPERATIONS
from machines_mcp.sandbox.summary import summary
from machines_mcp.sandbox.switches import MAX_TEXT, SALT_FORMS, TEXT_PLACES

if TYPE_CHECKING:
    from collections.abc import Callable

    from machines_mcp.sandbox.fields import Fields
    from machines_mcp.sandbox.state import State

# Charges post this many seconds after the purchase.
POSTING_SECONDS: Final = 3.0


def decide_kyc(state: State, fields: Fields) -> Success:
    """POST /control/kyc {userId, decision, reason?}: set the KYC status to any of the nine."""
    user_id = fields.text("userId", most=120)
    decision = fields.choice("decision", kyc.DECISIONS)
    reason = fields.optional_text("reason", most=500)
    if users.find(state, user_id) is None:
        raise not_found()
    user = kyc.decide(state, user_id, decision, reason)
    return Success({"userId": user_id, "status": user.kyc_status}, "kyc decided")


def complete_deposit(state: State, fields: Fields) -> Success:
    """POST /control/deposits {depositId}: complete the deposit now."""
    deposit_id = fields.text("depositId")
    if not deposits.complete(state, deposit_id):
        raise not_found()
    return Success({"depositId": deposit_id}, "deposit completed")


def execute_withdrawal(state: State, fields: Fields) -> Success:
    """POST /control/withdrawals {userId}: execute the user's live signature on chain. With `--chain`, this is a
    transaction of the sandbox's wallet if the signature is for that; otherwise the money moves without one.
    """
    user_id = fields.text("userId", most=120)
    cents = signatures.execute(state, user_id)
    if cents is None:
        raise not_found()
    return Success({"userId": user_id, "amountCents": cents}, "withdrawal executed")


def spend(state: State, fields: Fields) -> Success:
    """POST /control/spend {cardId, amountCents, merchantName?}: charge the card; `approved` is false if declined."""
    card_id = fields.text("cardId")
    cents = fields.integer("amountCents", least=1, most=MAX_CENTS)
    merchant = fields.optional_text("merchantName", most=200) or "Test Shop"
    row = state.row("SELECT * FROM cards WHERE card_id = ?", card_id)
    if row is None:
        raise not_found()
    reason = _decline_reason(state, row, cents)
    now = state.clock.now()
    entry_id = ledger.enter(
        *(state, row["user_id"], "spend", cents),
        at=now,
        posts_at=now + POSTING_SECONDS,
        declined=int(reason is not None),
        card_id=card_id,
        merchant_name=merchant,
    )
    data = {"approved": reason is None, "reason": reason, "transactionId": entry_id}
    return Success(data, "spend declined" if reason else "spend approved")


def _decline_reason(state: State, card: Any, cents: int) -> str | None:
    """Return why the card is declined, or None."""
    if card["status"] != "active":
        return "card_not_active"
    if ledger.standing(state, card["user_id"]).spending_power < cents:
        return "insufficient_balance"
    if card["limit_cents"] is None:
        return None
    window = cards.FREQUENCIES[card["limit_frequency"]]
    since = 0.0 if window is None else state.clock.now() - window
    spent = 0
    if window != 0.0:
        spent = state.number(
            "SELECT sum(amount_cents) FROM entries WHERE user_id = ? AND card_id = ? AND type = 'spend'"
            " AND NOT declined AND created_at > ?",
            *(card["user_id"], card["card_id"], since),
        )
    return "card_limit" if spent + cents > card["limit_cents"] else None


def advance_clock(state: State, fields: Fields) -> Success:
    """POST /control/clock {advanceSeconds}: move the clock forward by 1 second to 10 years."""
    state.advance(fields.integer("advanceSeconds", least=1, most=10 * 366 * 86_400))
    return Success({"now": iso(state.clock.now()), "clockAheadSeconds": state.clock.offset}, "clock advanced")


def arm_fault(state: State, fields: Fields) -> Success:
    """POST /control/faults {kind, path, method?, exact?, calls?, status?, code?, retryAfter?, delaySeconds?, patch?}:
    fail the next calls of a documented path, or of all paths that begin with it. `/cards/{cardId}` matches any card.
    `patch` is a list of {op, path, value} as in RFC 6902 (add, replace, remove) on the envelope; `raw` instead of
    `value` inserts text as it stands.
    """
    fault = Fault.of(fields)
    _check_reaches(fault, fields)
    state.faults.arm(fault)
    return Success({"faults": state.faults.view()}, "fault armed")


def _check_reaches(fault: Fault, fields: Fields) -> None:
    """Raise a 400 if the fault can't apply to any call, naming similar documented paths or the path's methods."""
    reached = [operation for operation in OPERATIONS if fault.reaches(operation.path)]
    if not reached:
        near = get_close_matches(fault.path, sorted({operation.path for operation in OPERATIONS}), n=3, cutoff=0.0)
        what = "must be a documented path" if fault.exact else "must be or begin a documented path"
        fields.refuse("path", f"{what}; similar paths: {', '.join(near)}")
    methods = list(dict.fromkeys(operation.method for operation in reached))
    if fault.method not in (None, *methods):
        fields.refuse("method", f"must be a method of this path; methods: {', '.join(methods)}")


def list_faults(state: State, fields: Fields) -> Success:
    """GET /control/faults: list the armed faults and the calls left of each."""
    return Success({"faults": state.faults.view()}, "faults")


def clear_faults(state: State, fields: Fields) -> Success:
    """POST /control/faults/clear: disarm all faults."""
    state.faults.clear()
    return Success({"faults": []}, "faults cleared")


def limit_rate(state: State, fields: Fields) -> Success:
    """POST /control/rate {calls, windowSeconds?}: limit the calls per window; 0 removes the limit."""
    calls = fields.integer("calls", least=0, most=100_000)
    state.rate.set(calls, fields.optional_integer("windowSeconds", least=1, most=86_400) or 60)
    return Success({"rateLimit": state.rate.view()}, "rate limit set")


def provision_slowly(state: State, fields: Fields) -> Success:
    """POST /control/provisioning {slow}: if true, the contract is still missing at each user's first deposit."""
    state.provisioning.slow(fields.flag("slow"))
    return Success({"slowProvisioning": state.provisioning.is_slow}, "provisioning set")


def honour_keys(state: State, fields: Fields) -> Success:
    """POST /control/keys {honoured}: if false, ignore Idempotency-Key and execute every request."""
    state.keys.honoured = fields.flag("honoured")
    return Success({"keysHonoured": state.keys.honoured}, "keys set")


def write_salts(state: State, fields: Fields) -> Success:
    """POST /control/salts {form}: write the salts of withdrawals as `base64` (the default), `hex` with 0x, or `bytes`,
    a list of 32 numbers.
    """
    state.salts.form = fields.choice("form", SALT_FORMS)
    return Success({"saltForm": state.salts.form}, "salts set")


def say(state: State, fields: Fields) -> Success:
    """POST /control/texts {place, text}: say up to 8,192 characters in each response as the `merchant` of a
    transaction, the `label` of a card that is read, the `kyc_reason`, an `agreement` or the name of an `asset`, for
    every user. An empty text ends it.
    """
    place = fields.choice("place", TEXT_PLACES)
    state.texts.set(place, fields.text("text", least=0, most=MAX_TEXT))
    return Success({"texts": state.texts.view()}, "text set")


def reset(state: State, fields: Fields) -> Success:
    """POST /control/reset: delete all users and disarm everything. The partner key and the clock stay."""
    state.empty()
    settlement.rebuild(state)
    return Success({}, "state emptied")


CONTROLS: Final[tuple[tuple[str, str, Callable[[State, Fields], Success]], ...]] = (
    ("GET", "", summary),
    ("POST", "/kyc", decide_kyc),
    ("POST", "/deposits", complete_deposit),
    ("POST", "/withdrawals", execute_withdrawal),
    ("POST", "/spend", spend),
    ("POST", "/clock", advance_clock),
    ("GET", "/faults", list_faults),
    ("POST", "/faults", arm_fault),
    ("POST", "/faults/clear", clear_faults),
    ("POST", "/rate", limit_rate),
    ("POST", "/provisioning", provision_slowly),
    ("POST", "/keys", honour_keys),
    ("POST", "/salts", write_salts),
    ("POST", "/texts", say),
    ("POST", "/reset", reset),
)

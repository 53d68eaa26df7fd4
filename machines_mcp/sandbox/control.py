"""The control: what a test or a person can make happen that no caller of the API could."""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox import cards, deposits, kyc, ledger, signatures, users
from machines_mcp.sandbox.clock import iso
from machines_mcp.sandbox.cursors import read_cursor, write_cursor
from machines_mcp.sandbox.envelope import Answer, not_found
from machines_mcp.sandbox.faults import Fault
from machines_mcp.sandbox.fields import MAX_CENTS
from machines_mcp.sandbox.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from machines_mcp.sandbox.fields import Fields
    from machines_mcp.sandbox.state import State

# Charges post this many seconds after the purchase.
POSTING_SECONDS: Final = 3.0
DEFAULT_USERS: Final = 50
MOST_USERS: Final = 200


def summary(state: State, fields: Fields) -> Answer:
    """GET /control ?limit=&cursor=: who is there and how far they are, the newest first: `limit` users (50) and as
    many cards and deposits of each; every `leftOff` counts the older ones. No secret stands in it.
    """
    limit = fields.optional_integer("limit", least=1, most=MOST_USERS) or DEFAULT_USERS
    before = read_cursor(fields) if fields.has("cursor") else (math.inf, "")
    older = "FROM users WHERE (created_at, user_id) < (?, ?)"
    rows = state.rows(
        f"SELECT created_at, user_id {older} ORDER BY created_at DESC, user_id DESC LIMIT ?", *before, limit
    )
    left_off = state.number(f"SELECT count(*) {older}", *before) - len(rows)
    data = {
        "now": iso(state.clock.now()),
        "clockAheadSeconds": state.clock.offset,
        "faults": state.faults.view(),
        "rateLimit": state.rate.view(),
        "slowProvisioning": state.provisioning.is_slow,
        "keysHonoured": state.keys.honoured,
        "users": [_user(state, row["user_id"], limit) for row in rows],
        "leftOff": left_off,
    }
    if left_off:
        data["nextCursor"] = write_cursor(rows[-1]["created_at"], rows[-1]["user_id"])
    return Answer(data, "state")


def _user(state: State, user_id: str, limit: int) -> dict[str, Any]:
    user = users.find(state, user_id)
    money = ledger.standing(state, user_id)
    card_rows = state.rows(
        "SELECT card_id, status, last4 FROM cards WHERE user_id = ? ORDER BY position DESC LIMIT ?", user_id, limit
    )
    deposit_rows = state.rows(
        "SELECT * FROM deposits WHERE user_id = ? ORDER BY created_at DESC, deposit_id LIMIT ?", user_id, limit
    )
    made = state.number("SELECT count(*) FROM cards WHERE user_id = ?", user_id)
    deposited = state.number("SELECT count(*) FROM deposits WHERE user_id = ?", user_id)
    now = state.clock.now()
    return {
        "userId": user_id,
        "kycStatus": user.kyc_status if user else None,
        "agreementsAccepted": bool(user and user.agreements_at is not None),
        "spendingPower": money.spending_power,
        "deposits": [{"id": row["deposit_id"], "completed": row["completes_at"] <= now} for row in deposit_rows],
        "cards": [{"cardId": row["card_id"], "status": row["status"], "last4": row["last4"]} for row in card_rows],
        "leftOff": {"cards": made - len(card_rows), "deposits": deposited - len(deposit_rows)},
        "withdrawals": {
            "pending": state.number("SELECT count(*) FROM withdrawals WHERE user_id = ? AND answer IS NULL", user_id),
            "ready": state.number("SELECT count(*) FROM withdrawals WHERE user_id = ? AND answer NOT NULL", user_id),
            "signatureSecondsLeft": math.ceil(signatures.seconds_left(state, user_id)),
        },
    }


def decide_kyc(state: State, fields: Fields) -> Answer:
    """POST /control/kyc {userId, decision, reason?}: any of the nine statuses."""
    user_id = fields.text("userId", most=120)
    decision = fields.choice("decision", kyc.DECISIONS)
    reason = fields.optional_text("reason", most=500)
    if users.find(state, user_id) is None:
        raise not_found()
    user = kyc.decide(state, user_id, decision, reason)
    return Answer({"userId": user_id, "status": user.kyc_status}, "kyc decided")


def complete_deposit(state: State, fields: Fields) -> Answer:
    """POST /control/deposits {depositId}: the payment arrives now."""
    deposit_id = fields.text("depositId")
    if not deposits.complete(state, deposit_id):
        raise not_found()
    return Answer({"depositId": deposit_id}, "deposit completed")


def execute_withdrawal(state: State, fields: Fields) -> Answer:
    """POST /control/withdrawals {userId}: the user's live signature is used on chain."""
    user_id = fields.text("userId", most=120)
    cents = signatures.execute(state, user_id)
    if cents is None:
        raise not_found()
    return Answer({"userId": user_id, "amountCents": cents}, "withdrawal executed")


def spend(state: State, fields: Fields) -> Answer:
    """POST /control/spend {cardId, amountCents, merchantName?}: pay; `approved` says whether the card was taken."""
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
    return Answer(data, "spend declined" if reason else "spend approved")


def _decline_reason(state: State, card: Any, cents: int) -> str | None:
    """Why the card does not pay, None when it does."""
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


def advance_clock(state: State, fields: Fields) -> Answer:
    """POST /control/clock {advanceSeconds}: from 1 second to 10 years."""
    state.advance(fields.integer("advanceSeconds", least=1, most=10 * 366 * 86_400))
    return Answer({"now": iso(state.clock.now()), "clockAheadSeconds": state.clock.offset}, "clock advanced")


def arm_fault(state: State, fields: Fields) -> Answer:
    """POST /control/faults {kind, path, method?, exact?, calls?, status?, code?, retryAfter?, delaySeconds?}: break the
    next calls of a documented path, or of all that begin with it; `/cards/{cardId}` is that of any card.
    """
    fault = Fault.of(fields)
    _check_reaches(fault, fields)
    state.faults.arm(fault)
    return Answer({"faults": state.faults.view()}, "fault armed")


def _check_reaches(fault: Fault, fields: Fields) -> None:
    """Raises:
    Refusal: 400, when no call could ever meet the fault; the documented paths that are most like its own are named.
    """
    reached = [operation for operation in OPERATIONS if fault.reaches(operation.path)]
    if not reached:
        near = get_close_matches(fault.path, sorted({operation.path for operation in OPERATIONS}), n=3, cutoff=0.0)
        what = "must be a documented path" if fault.exact else "must be or begin a documented path"
        fields.refuse("path", f"{what}; near it: {', '.join(near)}")
    methods = list(dict.fromkeys(operation.method for operation in reached))
    if fault.method not in (None, *methods):
        fields.refuse("method", f"must be served at this path; served are: {', '.join(methods)}")


def list_faults(state: State, fields: Fields) -> Answer:
    """GET /control/faults: what is armed, and how often each will still happen."""
    return Answer({"faults": state.faults.view()}, "faults")


def clear_faults(state: State, fields: Fields) -> Answer:
    """POST /control/faults/clear: nothing is armed any more."""
    state.faults.clear()
    return Answer({"faults": []}, "faults cleared")


def limit_rate(state: State, fields: Fields) -> Answer:
    """POST /control/rate {calls, windowSeconds?}: so many calls per window; 0 lifts the limit."""
    calls = fields.integer("calls", least=0, most=100_000)
    state.rate.set(calls, fields.optional_integer("windowSeconds", least=1, most=86_400) or 60)
    return Answer({"rateLimit": state.rate.view()}, "rate limit set")


def provision_slowly(state: State, fields: Fields) -> Answer:
    """POST /control/provisioning {slow}: whether each user's first deposit finds its contract missing."""
    state.provisioning.slow(fields.flag("slow"))
    return Answer({"slowProvisioning": state.provisioning.is_slow}, "provisioning set")


def honour_keys(state: State, fields: Fields) -> Answer:
    """POST /control/keys {honoured}: whether an Idempotency-Key counts; ignored, every request happens anew."""
    state.keys.honoured = fields.flag("honoured")
    return Answer({"keysHonoured": state.keys.honoured}, "keys set")


def reset(state: State, fields: Fields) -> Answer:
    """POST /control/reset: no users and nothing armed any more; partner key and clock stay."""
    state.empty()
    return Answer({}, "state emptied")


CONTROLS: Final[tuple[tuple[str, str, Callable[[State, Fields], Answer]], ...]] = (
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
    ("POST", "/reset", reset),
)

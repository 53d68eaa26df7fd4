"""What a person sees before a withdrawal: every term of the quote, and what is unusual about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from machines_mcp.partner.errors import PartnerError
from machines_mcp.partner.formats.networks import family_of
from machines_mcp.permissions.approval_details import ApprovalDetails, Author, Detail
from machines_mcp.permissions.destinations import normal_destination
from machines_mcp.protocol.errors import Code, FieldError, NextStep, ToolError
from machines_mcp.protocol.tool import UserInput
from machines_mcp.redaction.display import dollars, utc_day
from machines_mcp.storage.withdrawals import Destination, UsedDestination
from machines_mcp.tools.agreements import require_agreements
from machines_mcp.tools.services import ServiceContext, user_detail
from machines_mcp.tools.text import estimate
from machines_mcp.tools.withdrawal_arguments import TO_THE_LETTER, CreateWithdrawal, QuoteWithdrawal
from machines_mcp.tools.withdrawal_quotes import live_quote

# A quote with a term that is missing here can't be approved.
_TERM_NAMES = {
    "amount_cents": "Amount",
    "currency": "Currency",
    "network": "Network",
    "address": "Address",
    "extra_id": "Memo",
    "admin_address": "Sending wallet",
    "source_chain_id": "Paid from chain",
    "source_token_address": "Paid with token",
}
_FIRST_USE = "the first withdrawal to this destination"
_NOT_CHECKED = "not checked: this server does not know the network"
_LARGE_TIMES = 2
_LARGE = "large for this user: more than twice the largest earlier withdrawal"
_NO_BALANCE = "not compared with the balance, which could not be read"


async def withdrawal_details(call: ServiceContext, args: CreateWithdrawal) -> ApprovalDetails:
    """Describe the withdrawal on the terms of its quote."""
    quote = await live_quote(call, args.quote_id)
    await require_agreements(call)
    terms = quote.terms
    about = None if terms["estimated_to_amount"] is None else estimate(terms["estimated_to_amount"])
    to = Destination(terms["currency"], terms["network"], terms["address"], terms["extra_id"])
    spendable = await _spendable(call, terms["amount_cents"])
    used = await call.services.state.withdrawals.destinations(call.user_id)
    here = [one for one in used if normal_destination(one.destination) == normal_destination(to)]
    notes = {"amount_cents": _NO_BALANCE if spendable is None else None, "address": _address_note(to, here)}
    return ApprovalDetails(
        question=f"Withdraw {dollars(terms['amount_cents'])} to this address?",
        items=(
            user_detail(call),
            *_terms(terms, notes),
            *((Detail("Arrives", f"about {about} {to.currency}", "an estimate"),) if about is not None else ()),
        ),
        amount_cents=terms["amount_cents"],
        destination=to,
        valid_until=quote.expires_at,
        context=tuple(_context(terms["amount_cents"], spendable, here, used)),
    )


def _terms(terms: Mapping[str, Any], notes: Mapping[str, str | None]) -> Iterator[Detail]:
    """Yield a row per term of the quote, which are the arguments of `quote_withdrawal`."""
    for name in QuoteWithdrawal.model_fields:
        value = terms.get(name)
        if value is None or name in UserInput.model_fields:
            continue
        text = dollars(value) if name == "amount_cents" else str(value)
        # The sending wallet may be the linked one. Its form leaves no room for words.
        author: Author | None = "agent" if isinstance(value, str) and name != "admin_address" else None
        yield Detail(_TERM_NAMES[name], text, notes.get(name), verbatim=name in TO_THE_LETTER, by=author)


def _address_note(to: Destination, here: Sequence[UsedDestination]) -> str | None:
    """Return what is unusual about the destination: its network is unknown, or it is new to the user."""
    notes = [*([] if family_of(to.network) else [_NOT_CHECKED]), *([] if here else [_FIRST_USE])]
    return "; ".join(notes) or None


def _context(
    amount_cents: int, spendable: int | None, here: Sequence[UsedDestination], used: Sequence[UsedDestination]
) -> Iterator[Detail]:
    """Yield the balance, the earlier withdrawals to the destination, and the largest one if this is much larger."""
    if spendable is not None:
        yield Detail("Balance", f"{dollars(spendable)}, {dollars(spendable - amount_cents)} afterwards")
    count = sum(one.times for one in here)
    last = f", the last on {utc_day(max(one.last_at for one in here))}" if here else ""
    yield Detail("Earlier withdrawals here", f"{count:,}{last}" if count else "none")
    largest = max((one.largest_cents for one in used), default=0)
    if largest and amount_cents > _LARGE_TIMES * largest:
        yield Detail("Largest earlier withdrawal", dollars(largest), _LARGE)


async def _spendable(call: ServiceContext, amount_cents: int) -> int | None:
    """Return what the user can spend, in US cents; None if it can't be read.

    Raises:
        ToolError: `input.invalid`: the user can't spend so much.
    """
    client = await call.services.partner.client(call.logged_as)
    try:
        spendable = (await client.balances.get(call.user_id)).spending_power
    except PartnerError:
        spendable = None
    if spendable is None or amount_cents <= spendable:
        return spendable
    rule = f"is for more than the user can spend: get a quote for at most {max(spendable, 0)} US cents"
    step = NextStep("get_balances", "Check the balance, then ask the user for an amount within it.")
    raise ToolError(Code.INPUT_INVALID, fields=[FieldError("quote_id", rule)], next_steps=[step])

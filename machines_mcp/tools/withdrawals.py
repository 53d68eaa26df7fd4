"""Withdrawals (optional). A quote fixes the terms: the person approves the same terms that Machines receives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from machines_mcp import partner
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.protocol.errors import Code, FieldError, NextStep, ToolError
from machines_mcp.protocol.tool import Cents, Output, UserInput, tool
from machines_mcp.redaction.display import dollars, plain_amount
from machines_mcp.redaction.verbatim import Verbatim, VerbatimArgument
from machines_mcp.storage.withdrawals import Destination, Quote
from machines_mcp.tools.agreements import require_agreements
from machines_mcp.tools.assets import AssetListOutput, ListAssets, NetworkId, Ticker, asset_outputs
from machines_mcp.tools.reconcile_withdrawals import (
    WithdrawalCreated,
    reconcile_withdrawal,
    request_signature,
    withdrawal_result,
    withdrawal_source,
)
from machines_mcp.tools.services import ServiceContext, next_step, user_fact
from machines_mcp.tools.text import quote_text

if TYPE_CHECKING:
    from machines_mcp.partner import WithdrawalRoute


# A quote with a term that is missing here can't be approved.
_TERM_NAMES = {
    "amount_cents": "Amount",
    "currency": "Currency",
    "network": "Network",
    "address": "Address",
    "extra_id": "Memo",
    "admin_address": "Sent by the wallet",
    "source_chain_id": "Paid from chain",
    "source_token_address": "Paid with token",
}
_TO_THE_LETTER = ("address", "extra_id", "admin_address", "source_token_address")
# Printable and without quotes, so the question shows the value unchanged.
_PLAIN = r"^[!#-&(-_a-~]+$"


class QuoteWithdrawal(UserInput):
    amount_cents: Cents = Field(description="US cents to withdraw")
    currency: str = Ticker
    network: str = NetworkId
    address: Annotated[Verbatim, VerbatimArgument(min_length=4, max_length=200, pattern=_PLAIN)] = Field(
        description="Destination address; verify it first"
    )
    extra_id: Annotated[Verbatim, VerbatimArgument(max_length=120, pattern=_PLAIN)] | None = Field(
        default=None, description="Memo or tag, if the network takes one"
    )
    admin_address: Annotated[Verbatim, VerbatimArgument(pattern=r"^0x[0-9a-fA-F]{40}$")] | None = Field(
        default=None,
        description="The user's EVM wallet that will send the transaction",
        examples=["0x and the user's own 40 hex digits"],
    )
    source_chain_id: int | None = Field(default=None, ge=1, le=2**53, description="Chain to pay from")
    source_token_address: (
        Annotated[Verbatim, VerbatimArgument(min_length=4, max_length=200, pattern=r"^[!-~]+$")] | None
    ) = Field(default=None, description="Token to pay from")


class WithdrawalQuote(Output):
    quote_id: Verbatim
    expires_at: datetime
    amount_cents: int
    currency: str
    network: str
    address: Verbatim
    extra_id: Verbatim | None = None
    estimated_to_amount: float | None = None
    is_estimate: bool

    def summary(self) -> str:
        until = f"{self.expires_at.astimezone(UTC):%H:%M:%S} UTC"
        return f"Quote for {dollars(self.amount_cents)}, valid until {until}."


class CreateWithdrawal(UserInput):
    quote_id: Annotated[Verbatim, VerbatimArgument(pattern=r"^quote_[0-9a-f]{32}$")] = Field(
        description="From quote_withdrawal", examples=["the quote_id from quote_withdrawal"]
    )


@tool(title="List withdrawal assets", toolset="withdrawals", action_class=ActionClass.READ, idempotent=True)
async def list_withdrawal_assets(call: ServiceContext, args: ListAssets) -> AssetListOutput:
    """List the currencies and networks available for withdrawals. Next: quote_withdrawal."""
    client = await call.services.partner.client(call.logged_as)
    assets = asset_outputs(await client.withdrawals.assets(call.user_id, q=args.query, limit=args.limit))
    follow = next_step(call, "quote_withdrawal", "Get a quote for an amount and destination the user gives.")
    return AssetListOutput(assets=assets, next_steps=[follow] if assets else [])


@tool(title="Quote a withdrawal", toolset="withdrawals", action_class=ActionClass.READ, idempotent=False)
async def quote_withdrawal(call: ServiceContext, args: QuoteWithdrawal) -> WithdrawalQuote:
    """Quote a withdrawal to a destination the user gave. Valid for 10 minutes and these exact terms; the amount that
    arrives is an estimate. Moves no money. Next: create_withdrawal with quote_id."""
    client = await call.services.partner.client(call.logged_as)
    route = _route(args.model_dump())
    limits = await client.withdrawals.range(call.user_id, route)
    _check_range(args.amount_cents, limits.min_amount_cents, limits.max_amount_cents)
    if args.extra_id is not None and limits.destination_supports_extra_id is False:
        rule = "is not used on this network; omit it"
        raise ToolError(Code.INPUT_INVALID, fields=[FieldError("extra_id", rule)])
    estimate = await client.withdrawals.estimate(call.user_id, route, args.amount_cents)
    terms = args.model_dump(exclude={"user_id"}) | {"estimated_to_amount": estimate.estimated_to_amount}
    quote = await call.services.state.withdrawals.quote(call.user_id, terms)
    return WithdrawalQuote(
        quote_id=quote.id,
        expires_at=datetime.fromtimestamp(quote.expires_at, UTC),
        amount_cents=args.amount_cents,
        currency=args.currency,
        network=args.network,
        address=args.address,
        extra_id=args.extra_id,
        estimated_to_amount=estimate.estimated_to_amount,
        is_estimate=True,
        next_steps=[next_step(call, "create_withdrawal", "Continue if the user wants these terms.", quote_id=quote.id)],
    )


async def _approval_details(call: ServiceContext, args: CreateWithdrawal) -> ApprovalDetails:
    quote = await _live_quote(call, args.quote_id)
    await require_agreements(call)
    terms, user = quote.terms, user_fact(call)
    amount = dollars(terms["amount_cents"])
    memo = f" with memo {quote_text(terms['extra_id'])}" if terms["extra_id"] else ""
    about = None if terms["estimated_to_amount"] is None else plain_amount(terms["estimated_to_amount"])
    estimate = f" About {about} {terms['currency']} will arrive (an estimate)." if about is not None else ""
    to = Destination(terms["currency"], terms["network"], terms["address"], terms["extra_id"])
    return ApprovalDetails(
        question=(
            f"Withdraw {amount} for the user {quote_text(call.user_id, 120)} as {to.currency}"
            f" on {to.network} to {quote_text(to.address)}{memo}?{estimate}"
        ),
        items=(
            user,
            *_terms(terms, await _first_use_warning(call, to)),
            *((Detail("Arrives", f"about {about} {to.currency}", "an estimate"),) if about is not None else ()),
        ),
        amount_cents=terms["amount_cents"],
        destination=to,
    )


def _terms(terms: Mapping[str, Any], warning: str | None) -> Iterator[Detail]:
    """Yield a row per term of the quote, which are the arguments of `quote_withdrawal`."""
    for name in QuoteWithdrawal.model_fields:
        value = terms.get(name)
        if value is None or name in UserInput.model_fields:
            continue
        text = dollars(value) if name == "amount_cents" else str(value)
        note = warning if name == "address" else None
        yield Detail(_TERM_NAMES[name], text, note, verbatim=name in _TO_THE_LETTER)


async def _first_use_warning(call: ServiceContext, to: Destination) -> str | None:
    """Return a warning if this is the user's first withdrawal to the destination."""
    before = await call.services.state.withdrawals.times_used(call.user_id, to)
    return "the first withdrawal to this destination" if before == 0 else None


@tool(
    title="Create a withdrawal",
    toolset="withdrawals",
    action_class=ActionClass.MONEY,
    approval_details=_approval_details,
    described=("user_id", "quote_id"),
    reconcile=reconcile_withdrawal,
    idempotent=True,
)
async def create_withdrawal(call: ServiceContext, args: CreateWithdrawal) -> WithdrawalCreated:
    """Request the signature that lets the user's wallet withdraw on a quote's terms. Requires approval; the request is
    sent only after it. Each quote works once. The wallet still has to send the transaction."""
    quote = await _live_quote(call, args.quote_id)
    withdrawal_id = await call.services.state.withdrawals.begin(quote, call.logged_as.approval_id)
    if withdrawal_id is None:
        raise _quote_error(quote)
    answer = await request_signature(call, withdrawal_id, quote.terms)
    return withdrawal_result(call, withdrawal_id, quote.terms, answer)


async def _live_quote(call: ServiceContext, quote_id: str) -> Quote:
    quote = await call.services.state.withdrawals.find_quote(call.user_id, quote_id)
    if quote is None:
        raise ToolError(Code.NOT_FOUND, next_steps=[NextStep("quote_withdrawal", "Get a quote first.")])
    if not call.services.state.withdrawals.live(quote):
        raise _quote_error(quote)
    return quote


def _quote_error(quote: Quote) -> ToolError:
    if quote.used_by:
        # No next step to a new quote: following it would pay out twice.
        return ToolError(Code.QUOTE_USED)
    terms = {k: v for k, v in quote.terms.items() if k != "estimated_to_amount" and v is not None}
    terms |= {k: Verbatim(v) for k, v in terms.items() if k in _TO_THE_LETTER}
    step = NextStep("quote_withdrawal", "Get a new quote on the same terms.", terms)
    return ToolError(Code.QUOTE_EXPIRED, next_steps=[step])


def _check_range(amount: int, low: int | None, high: int | None) -> None:
    if (low is not None and amount < low) or (high is not None and amount > high):
        bounds = [f"at least {math.ceil(low)}"] if low is not None else []
        bounds += [f"at most {math.floor(high)}"] if high is not None else []
        raise ToolError(Code.INPUT_INVALID, fields=[FieldError("amount_cents", f"must be {' and '.join(bounds)} here")])


def _route(terms: Any) -> WithdrawalRoute:
    return partner.WithdrawalRoute(
        currency=terms["currency"],
        network=terms["network"],
        extra_id=terms["extra_id"],
        source=withdrawal_source(terms),
    )

"""Steps 8 and 9: fund the account with an on-chain deposit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from machines_mcp.partner.vocabulary import RECORD_ID, AmountCurrency, DepositScope
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.earlier_calls import RECENT_SECONDS
from machines_mcp.protocol.approval_arguments import WaitSeconds
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.tool import (
    Completed,
    NextStepOutput,
    NotExecuted,
    Reconciliation,
    UserInput,
    tool,
)
from machines_mcp.redaction.display import ago
from machines_mcp.redaction.foreign_text import ForeignText
from machines_mcp.redaction.verbatim import Identifier, IdentifierArgument
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.assets import AssetListOutput, ListAssets, NetworkId, Ticker, asset_outputs
from machines_mcp.tools.deposit_output import (
    DepositListOutput,
    DepositOutput,
    DepositQuote,
    DepositResult,
    deposit_fields,
    deposit_result,
)
from machines_mcp.tools.polling import wait_until
from machines_mcp.tools.reconcile import MAX_CLOCK_SKEW_SECONDS, newest_entry, outcome_from_journal
from machines_mcp.tools.services import ServiceContext, next_step

DepositId = Annotated[
    Identifier,
    IdentifierArgument(pattern=RECORD_ID),
    Field(description="From list_deposits", examples=["a deposit_id from list_deposits"]),
]


class QuoteDeposit(UserInput):
    currency: str = Ticker
    network: str = NetworkId
    amount: float | None = Field(
        default=None, gt=0, le=1e12, allow_inf_nan=False, description="In amount_currency; without it, only the range"
    )
    amount_currency: AmountCurrency = Field(
        default="crypto", description="crypto: in currency units; usd: in US dollars, not cents"
    )


class CreateDeposit(UserInput):
    currency: str = Ticker
    network: str = NetworkId
    amount: float | None = Field(default=None, gt=0, le=1e12, allow_inf_nan=False, description="In currency units")


class GetDeposit(UserInput):
    deposit_id: DepositId
    wait_seconds: WaitSeconds = 0


class ListDeposits(UserInput):
    scope: DepositScope = Field(default="active", description="active: those under way")


@tool(title="List deposit assets", toolset="funding", steps=(8,), action_class=ActionClass.READ, idempotent=True)
async def list_deposit_assets(call: ServiceContext, args: ListAssets) -> AssetListOutput:
    """List deposit currencies and networks, to fund the account. Next: quote_deposit."""
    client = await call.services.partner.client(call.logged_as)
    assets = asset_outputs(await client.deposits.assets(call.user_id, q=args.query, limit=args.limit))
    first = next(((asset.currency, network.id) for asset in assets for network in asset.networks), (None, None))
    why = "See the allowed range and an estimate, once the user chose currency, network and amount."
    follow = next_step(call, "quote_deposit", why, currency=first[0], network=first[1])
    return AssetListOutput(assets=assets, next_steps=[follow] if assets else [])


@tool(title="Quote a deposit", toolset="funding", steps=(8,), action_class=ActionClass.READ, idempotent=True)
async def quote_deposit(call: ServiceContext, args: QuoteDeposit) -> DepositQuote:
    """Quote a deposit into the account: the allowed range and, for an amount, an estimate of what would arrive, in
    currency units. Locks no rate. Next: create_deposit."""
    client = await call.services.partner.client(call.logged_as)
    limits = await client.deposits.range(call.user_id, args.currency, args.network)
    if limits.odd & {"min_amount", "max_amount"}:
        raise ToolError(Code.PARTNER_MALFORMED)
    estimate = None
    fits = _fits(args, limits.min_amount, limits.max_amount)
    if fits and args.amount is not None:
        estimate = await client.deposits.estimate(
            call.user_id, args.currency, args.network, args.amount, args.amount_currency
        )
    return DepositQuote(
        currency=args.currency,
        network=args.network,
        amount=args.amount,
        amount_currency=args.amount_currency,
        min_amount=limits.min_amount,
        max_amount=limits.max_amount,
        within_range=fits,
        estimated_to_amount=estimate.estimated_to_amount if estimate else None,
        to_currency=ForeignText.of(limits.to_currency, 40),
        next_steps=[_after_quote(call, args, fits)],
    )


async def _reconcile(call: ServiceContext, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """Return the deposit if exactly one matches. If not, report it as not done: another deposit does no harm."""
    from_journal = outcome_from_journal(entries)
    if from_journal is not None:
        return from_journal
    entry, client = newest_entry(entries), await call.services.partner.client(call.logged_as)
    asked = json.loads(entry.body or "{}")
    there = (await client.deposits.list(call.user_id, scope="all")).deposits
    taken = (await call.services.state.guard.journal.concurrent_requests(entry)).created
    since = entry.sent_at - MAX_CLOCK_SKEW_SECONDS
    found = [
        deposit.id
        for deposit in there
        if deposit.id is not None
        and (
            (deposit.id == entry.reference and entry.state == "done")
            or (
                deposit.id not in taken
                and (deposit.from_currency, deposit.from_network) == (asked.get("currency"), asked.get("network"))
                and (deposit.created_at is None or deposit.created_at.timestamp() >= since)
            )
        )
    ]
    if len(found) == 1:
        deposit = await client.deposits.get(call.user_id, found[0])
        return Completed(deposit_result(call, deposit, waited=False), deposit.id)
    return NotExecuted("No deposit can be matched to this call. Create another; an unpaid deposit does no harm.")


@tool(
    title="Create a deposit",
    toolset="funding",
    steps=(8,),
    action_class=ActionClass.WRITE,
    reconcile=_reconcile,
    idempotent=False,
    makes="deposit",
)
async def create_deposit(call: ServiceContext, args: CreateDeposit) -> DepositResult:
    """Create a deposit: an address to send the currency to, and a memo if the network needs one. Pass both on
    unchanged: a deposit without its memo can be lost. Next: get_deposit."""
    client = await call.services.partner.client(call.logged_as)
    deposit = await client.deposits.create(
        call.user_id, args.currency, args.network, amount=args.amount, idempotency_key=call.idempotency_key
    )
    return await _with_earlier(call, deposit_result(call, deposit, waited=False))


async def _with_earlier(call: ServiceContext, made: DepositResult) -> DepositResult:
    """Return the result with an equal deposit of a short time ago. Of a call with an approval, the approval says it."""
    begun, journal = call.logged_as.begun, call.services.state.guard.journal
    earlier = await journal.same_request_before(begun[-1], call.user_id, RECENT_SECONDS) if begun else None
    if earlier is None or earlier.reference is None or call.logged_as.approval_id is not None:
        return made
    when = ago(call.services.state.clock() - earlier.created_at)
    step = next_step(call, "get_deposit", "See the first one.", deposit_id=Identifier(earlier.reference))
    found = made.model_copy(update={"next_steps": [*made.next_steps, step]})
    return found.told(f"The same deposit was made {when}; this made a second one.")


@tool(title="Get a deposit", toolset="funding", steps=(9,), action_class=ActionClass.READ, idempotent=True)
async def get_deposit(call: ServiceContext, args: GetDeposit) -> DepositResult:
    """Get one deposit, or wait until it arrives or ends. Next: get_balances once completed."""
    client = await call.services.partner.client(call.logged_as)
    deposit, _ = await wait_until(
        call,
        lambda: client.deposits.get(call.user_id, args.deposit_id),
        lambda found: found.settled,
        seconds=args.wait_seconds,
        what="the deposit",
    )
    return deposit_result(call, deposit, waited=args.wait_seconds > 0)


@tool(title="List deposits", toolset="funding", steps=(9,), action_class=ActionClass.READ, idempotent=True)
async def list_deposits(call: ServiceContext, args: ListDeposits) -> DepositListOutput:
    """List the user's deposits, active or all. To wait for one, use get_deposit."""
    client = await call.services.partner.client(call.logged_as)
    found = await client.deposits.list(call.user_id, scope=args.scope)
    waiting = [d for d in found.deposits if not d.settled and d.id is not None]
    steps = (
        [next_step(call, "get_deposit", "Wait for it.", deposit_id=waiting[0].id, wait_seconds=30)] if waiting else []
    )
    steps.append(next_step(call, "get_balances", "See what the user can spend."))
    return DepositListOutput(deposits=[DepositOutput(**deposit_fields(d)) for d in found.deposits], next_steps=steps)


def _fits(args: QuoteDeposit, low: float | None, high: float | None) -> bool | None:
    """Whether the amount is in the range; None without an amount. The range has no bound in dollars."""
    if args.amount is None:
        return None
    return args.amount_currency == "usd" or (
        (low is None or args.amount >= low) and (high is None or args.amount <= high)
    )


def _after_quote(call: ServiceContext, args: QuoteDeposit, fits: bool | None) -> NextStepOutput:
    if fits is False:
        why = "Quote an amount between min_amount and max_amount."
        return next_step(call, "quote_deposit", why, currency=args.currency, network=args.network)
    amount = args.amount if args.amount_currency == "crypto" else None
    why = "Get the address to send the currency to."
    return next_step(call, "create_deposit", why, currency=args.currency, network=args.network, amount=amount)

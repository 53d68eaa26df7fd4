"""Withdrawals (optional). A quote fixes the terms: the person approves the same terms that Machines receives."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from machines_mcp import partner
from machines_mcp.partner.formats.addresses import address_fault
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol.errors import Code, FieldError, ToolError
from machines_mcp.protocol.tool import tool
from machines_mcp.tools.assets import AssetListOutput, ListAssets, asset_outputs
from machines_mcp.tools.reconcile_withdrawals import reconcile_withdrawal
from machines_mcp.tools.services import ServiceContext, next_step
from machines_mcp.tools.withdrawal_admin import admin_address
from machines_mcp.tools.withdrawal_approvals import withdrawal_details
from machines_mcp.tools.withdrawal_arguments import CreateWithdrawal, QuoteWithdrawal
from machines_mcp.tools.withdrawal_output import WithdrawalCreated, WithdrawalQuote, withdrawal_result
from machines_mcp.tools.withdrawal_quotes import live_quote, quote_error
from machines_mcp.tools.withdrawal_signature import request_signature, withdrawal_source

if TYPE_CHECKING:
    from machines_mcp.partner import WithdrawalRoute
    from machines_mcp.partner.models.withdrawals import WithdrawalRange


@tool(title="List withdrawal assets", toolset="withdrawals", action_class=ActionClass.READ, idempotent=True)
async def list_withdrawal_assets(call: ServiceContext, args: ListAssets) -> AssetListOutput:
    """List withdrawal currencies and networks, to pay out. Next: quote_withdrawal."""
    client = await call.services.partner.client(call.logged_as)
    assets = asset_outputs(await client.withdrawals.assets(call.user_id, q=args.query, limit=args.limit))
    follow = next_step(call, "quote_withdrawal", "Get a quote for an amount and destination the user gives.")
    return AssetListOutput(assets=assets, next_steps=[follow] if assets else [])


@tool(title="Quote a withdrawal", toolset="withdrawals", action_class=ActionClass.READ, idempotent=False)
async def quote_withdrawal(call: ServiceContext, args: QuoteWithdrawal) -> WithdrawalQuote:
    """Quote a withdrawal out of the account, in US cents. Valid for 10 minutes and these exact terms; what arrives is
    an estimate, and Machines names no fee. Without amount and address, only the range. Next: create_withdrawal."""
    if args.amount_cents is None or args.address is None:
        return _range_only(call, args, await _limits(call, args))
    real = call.services.state.policy.environment == "production"
    fault = address_fault(args.network, args.address, test=not real)
    if fault is not None:
        raise ToolError(Code.INPUT_INVALID, fields=[FieldError("address", fault)])
    client = await call.services.partner.client(call.logged_as)
    admin = await admin_address(call, args)
    limits = await _limits(call, args)
    faults = _range_faults(args.amount_cents, limits.min_amount_cents, limits.max_amount_cents)
    if args.extra_id is not None and limits.destination_supports_extra_id is False:
        faults.append(FieldError("extra_id", "is not used on this network; omit it"))
    if faults:
        raise ToolError(Code.INPUT_INVALID, fields=faults)
    estimate = await client.withdrawals.estimate(call.user_id, _route(args.model_dump()), args.amount_cents)
    found = {"admin_address": admin, "estimated_to_amount": estimate.estimated_to_amount}
    terms = args.model_dump(exclude={"user_id"}) | found
    quote = await call.services.state.withdrawals.quote(call.user_id, terms)
    return WithdrawalQuote(
        quote_id=quote.id,
        expires_at=datetime.fromtimestamp(quote.expires_at, UTC),
        amount_cents=args.amount_cents,
        currency=args.currency,
        network=args.network,
        address=args.address,
        extra_id=args.extra_id,
        admin_address=admin,
        estimated_to_amount=estimate.estimated_to_amount,
        is_estimate=True,
        min_amount_cents=limits.min_amount_cents,
        max_amount_cents=limits.max_amount_cents,
        next_steps=[next_step(call, "create_withdrawal", "Continue if the user wants these terms.", quote_id=quote.id)],
    )


@tool(
    title="Create a withdrawal",
    toolset="withdrawals",
    action_class=ActionClass.MONEY,
    approval_details=withdrawal_details,
    described=("user_id", "quote_id"),
    reconcile=reconcile_withdrawal,
    idempotent=True,
)
async def create_withdrawal(call: ServiceContext, args: CreateWithdrawal) -> WithdrawalCreated:
    """Create a withdrawal on a quote's terms: request the signature for the user's wallet. Requires approval. Each
    quote works once. The wallet still has to send it. Next: get_withdrawal_transaction, if listed."""
    quote = await live_quote(call, args.quote_id)
    withdrawal_id = await call.services.state.withdrawals.begin(quote, call.logged_as.approval_id)
    if withdrawal_id is None:
        raise quote_error(quote)
    answer = await request_signature(call, withdrawal_id, quote.terms)
    return withdrawal_result(call, withdrawal_id, quote.terms, answer)


async def _limits(call: ServiceContext, args: QuoteWithdrawal) -> WithdrawalRange:
    client = await call.services.partner.client(call.logged_as)
    found = await client.withdrawals.range(call.user_id, _route(args.model_dump()))
    if found.odd & {"min_amount_cents", "max_amount_cents"}:
        raise ToolError(Code.PARTNER_MALFORMED)
    return found


def _range_only(call: ServiceContext, args: QuoteWithdrawal, limits: WithdrawalRange) -> WithdrawalQuote:
    why = "See what the user can spend. Then quote an amount in the range, and the address that the user gives."
    return WithdrawalQuote(
        currency=args.currency,
        network=args.network,
        min_amount_cents=limits.min_amount_cents,
        max_amount_cents=limits.max_amount_cents,
        next_steps=[next_step(call, "get_balances", why)],
    )


def _range_faults(amount: int, low: int | None, high: int | None) -> list[FieldError]:
    if (low is not None and amount < low) or (high is not None and amount > high):
        bounds = [f"at least {math.ceil(low)}"] if low is not None else []
        bounds += [f"at most {math.floor(high)}"] if high is not None else []
        return [FieldError("amount_cents", f"must be {' and '.join(bounds)} here")]
    return []


def _route(terms: Any) -> WithdrawalRoute:
    return partner.WithdrawalRoute(
        currency=terms["currency"],
        network=terms["network"],
        extra_id=terms["extra_id"],
        source=withdrawal_source(terms),
    )

"""The withdrawals that this server made. The Partner API has no list of them."""

from __future__ import annotations

from datetime import UTC, datetime

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol.tool import Output, OutputPart, UserInput, tool
from machines_mcp.redaction.display import dollars
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.withdrawal_rows import WithdrawalRow
from machines_mcp.tools.lists import PageSize
from machines_mcp.tools.services import ServiceContext, next_step
from machines_mcp.tools.text import is_status, pluralize
from machines_mcp.tools.withdrawal_output import ExtraId


class ListWithdrawals(UserInput):
    limit: PageSize = 20


class WithdrawalOutput(OutputPart):
    withdrawal_id: Verbatim
    status: str
    amount_cents: int
    currency: str
    network: str
    address: Verbatim
    extra_id: Verbatim | None = ExtraId
    created_at: datetime
    updated_at: datetime


class WithdrawalListOutput(Output):
    withdrawals: list[WithdrawalOutput]
    withdrawals_total: int

    def summary(self) -> str:
        if not self.withdrawals:
            return "0 withdrawals."
        newest = self.withdrawals[0]
        found = pluralize(self.withdrawals_total, "withdrawal")
        return f"{found}; the newest, of {dollars(newest.amount_cents)}, {is_status(newest.status)}."


@tool(title="List withdrawals", toolset="withdrawals", action_class=ActionClass.READ, idempotent=True, open_world=False)
async def list_withdrawals(call: ServiceContext, args: ListWithdrawals) -> WithdrawalListOutput:
    """List withdrawals that this server requested for the user, newest first. Status: requested, pending, ready
    (signed), sent (hash recorded), done (verified), confirmed (by a person), rejected, unknown."""
    rows, total = await call.services.state.withdrawals.newest(call.user_id, args.limit)
    return WithdrawalListOutput(
        withdrawals=[_output(row) for row in rows],
        withdrawals_total=total,
        next_steps=[next_step(call, "get_balances", "See what the user can spend.")],
    )


def _output(row: WithdrawalRow) -> WithdrawalOutput:
    terms = row.terms
    return WithdrawalOutput(
        withdrawal_id=row.id,
        status=row.status,
        amount_cents=terms["amount_cents"],
        currency=terms["currency"],
        network=terms["network"],
        address=Verbatim(terms["address"]),
        extra_id=None if terms["extra_id"] is None else Verbatim(terms["extra_id"]),
        created_at=datetime.fromtimestamp(int(row.created_at), UTC),
        updated_at=datetime.fromtimestamp(int(row.updated_at), UTC),
    )

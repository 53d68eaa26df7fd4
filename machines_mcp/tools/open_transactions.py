"""Signed withdrawals that are not done, as `status` shows them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import Field

from machines_mcp.protocol.tool import NextStepOutput, OutputPart
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.transactions import Transaction
from machines_mcp.tools.services import State


class OpenTransaction(OutputPart):
    """A signed withdrawal that waits for its wallet or for its receipt."""

    withdrawal_id: Verbatim
    waits_for: str = Field(description="wallet or receipt")
    expires_at: datetime
    seconds_left: int


def open_transaction(found: Transaction, now: float) -> OpenTransaction:
    """Describe a transaction. `now` is in epoch seconds."""
    return OpenTransaction(
        withdrawal_id=found.withdrawal_id,
        waits_for="receipt" if found.state == "sent" else "wallet",
        expires_at=datetime.fromtimestamp(int(found.expires_at), UTC),
        seconds_left=max(0, int(found.expires_at - now)),
    )


def withdrawal_steps(state: State, found: Iterable[Transaction]) -> list[NextStepOutput]:
    """Return a step for each withdrawal whose wallet has not sent it yet."""
    return [
        NextStepOutput(
            tool="get_withdrawal_transaction",
            why="Get what the wallet signs and sends.",
            arguments=state.user_argument(each.user_id) | {"withdrawal_id": each.withdrawal_id},
        )
        for each in found
        if each.state == "signed"
    ]

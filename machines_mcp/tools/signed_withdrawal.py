"""A withdrawal that Machines signed, and its transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from machines_mcp.storage.transactions import Transaction
from machines_mcp.storage.withdrawals import StartedWithdrawal

SOLANA_PATH = "solana_v2_02"
SIGNED_PATH = "coordinator_v2"
"""The call path that needs a signature of an admin."""
UNSIGNED_PATH = "controller_v1"
"""The path on an EVM chain that needs none."""


@dataclass(frozen=True, slots=True)
class SignedWithdrawal:
    """A withdrawal that Machines signed, and its transaction."""

    started: StartedWithdrawal
    transaction: Transaction

    @property
    def answer(self) -> dict[str, Any]:
        """The API's answer, as it is stored."""
        return dict(self.started.answer or {})

    @property
    def path(self) -> str:
        """The call path, as it came."""
        execution = self.answer.get("execution")
        found = execution.get("call_path") if isinstance(execution, dict) else None
        return found if isinstance(found, str) else ""

    @property
    def chain_id(self) -> int | None:
        """The chain that the withdrawal is paid from."""
        execution = self.answer.get("execution")
        found = execution.get("chain_id") if isinstance(execution, dict) else None
        return found if isinstance(found, int) else None

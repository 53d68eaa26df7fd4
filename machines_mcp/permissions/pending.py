"""A snapshot of pending work in a state folder: waiting approvals and calls without a known outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_rows import executing_approvals, others_waiting, waiting_approvals
from machines_mcp.permissions.budgets import Budget
from machines_mcp.permissions.passphrase_tries import WrongTries, wrong_tries
from machines_mcp.storage.desk_note import noted_port
from machines_mcp.storage.freeze import Freeze, freezes
from machines_mcp.storage.journal_entry import OPEN, selected
from machines_mcp.storage.migrations.stored_names import NEEDS_PERSON
from machines_mcp.storage.transactions import Transaction, open_transactions
from machines_mcp.storage.withdrawal_rows import OpenWithdrawal, open_withdrawals, others_unresolved

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store
    from machines_mcp.storage.principal import Principal

FRESH_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class PendingWork:
    """Waiting approvals, executing approvals, unfinished withdrawals, what is left of limits, freezes and alarms.

    `needs_person` holds the ids of executing approvals that only a person can resolve. Of other users, only numbers.
    """

    waiting: list[Approval]
    executing: list[Approval]
    withdrawals: list[OpenWithdrawal]
    budgets: tuple[Budget, ...] = ()
    needs_person: frozenset[str] = frozenset()
    freezes: tuple[Freeze, ...] = ()
    alarms: tuple[WrongTries, ...] = ()
    others_waiting: int = 0
    others_unresolved: int = 0
    transactions: tuple[Transaction, ...] = ()
    """Those of signed withdrawals that wait for a signature or a receipt."""
    taken_desk_port: int | None = None
    """The desk's fixed port, if another program has it."""


class PendingWorkReader:
    """Reads a new snapshot after any write of this process, or after 0.25 s, because other processes write too.

    `budgets` reads what the principal's users left of each limit.
    """

    def __init__(
        self,
        store: Store,
        principal: Principal,
        budgets: Callable[[sqlite3.Connection], tuple[Budget, ...]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._principal = principal
        self._budgets = budgets
        self._clock = clock
        self._seen = PendingWork([], [], [])
        self._seen_at = 0.0
        self._seen_writes = -1

    async def snapshot(self) -> PendingWork:
        """Return the pending work of the principal's users."""
        writes, at = self._store.writes, time.monotonic()
        if writes != self._seen_writes or at - self._seen_at > FRESH_SECONDS:
            self._seen = await self._store.read(self._read)
            self._seen_at, self._seen_writes = at, writes
        return self._seen

    def _read(self, db: sqlite3.Connection) -> PendingWork:
        principal, now = self._principal, self._clock()
        executing, open_ones = executing_approvals(db, principal), open_withdrawals(db, principal)
        return PendingWork(
            waiting_approvals(db, principal, now),
            executing,
            open_ones,
            self._budgets(db),
            _by_hand(db, executing, open_ones),
            tuple(freezes(db, principal)),
            tuple(wrong_tries(db, now)),
            others_waiting(db, principal, now),
            others_unresolved(db, principal),
            tuple(open_transactions(db, principal, now)),
            noted_port(self._store.folder, "taken"),
        )


def _by_hand(db: sqlite3.Connection, executing: list[Approval], withdrawals: list[OpenWithdrawal]) -> frozenset[str]:
    if not executing:
        return frozenset()
    ids = {entry.approval_id for entry in selected(db, f"{OPEN} AND state = '{NEEDS_PERSON}'")}
    ids |= {each.approval_id for each in withdrawals if each.status == "unknown"}
    # Approvals older than the journal have no entry in it.
    return frozenset(each.id for each in executing if each.id in ids or each.owner is None)

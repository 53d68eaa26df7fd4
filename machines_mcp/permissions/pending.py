"""A snapshot of pending work in a state folder: waiting approvals and calls without a known outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_rows import executing_approvals, waiting_approvals
from machines_mcp.permissions.limits import Budget, budgets
from machines_mcp.storage.freeze import Freeze, freezes
from machines_mcp.storage.journal_entry import selected
from machines_mcp.storage.migrations.stored_names import NEEDS_PERSON
from machines_mcp.storage.withdrawals import OpenWithdrawal, open_withdrawals

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.permissions.policy import Policy
    from machines_mcp.storage.database import Store

FRESH_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class PendingWork:
    """Waiting approvals, executing approvals, unfinished withdrawals, and what is left of the policy's limits.

    `by_hand` holds the ids of executing approvals that only a person can resolve.
    """

    waiting: list[Approval]
    executing: list[Approval]
    withdrawals: list[OpenWithdrawal]
    budgets: tuple[Budget, ...] = ()
    needs_person: frozenset[str] = frozenset()
    freezes: tuple[Freeze, ...] = ()


class PendingWorkReader:
    """Reads a new snapshot after any write of this process, or after 0.25 s, because other processes write too.

    With a policy the snapshot includes budgets; limits per user are for `user_id`.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float] = time.time,
        *,
        policy: Policy | None = None,
        user_id: str | None = None,
    ) -> None:
        self._store = store
        self._policy = policy
        self._user_id = user_id
        self._clock = clock
        self._seen = PendingWork([], [], [])
        self._seen_at = 0.0
        self._seen_writes = -1

    async def snapshot(self) -> PendingWork:
        """Return the pending work."""
        writes, at = self._store.writes, time.monotonic()
        if writes != self._seen_writes or at - self._seen_at > FRESH_SECONDS:
            now, policy, user_id = self._clock(), self._policy, self._user_id

            def work(db: sqlite3.Connection) -> PendingWork:
                left = () if policy is None else budgets(db, policy, now, user_id)
                executing, open_ones = executing_approvals(db), open_withdrawals(db)
                return PendingWork(
                    waiting_approvals(db, now),
                    executing,
                    open_ones,
                    left,
                    _by_hand(db, executing, open_ones),
                    tuple(freezes(db)),
                )

            self._seen = await self._store.read(work)
            self._seen_at, self._seen_writes = at, writes
        return self._seen


def _by_hand(db: sqlite3.Connection, executing: list[Approval], withdrawals: list[OpenWithdrawal]) -> frozenset[str]:
    if not executing:
        return frozenset()
    ids = {entry.approval_id for entry in selected(db, f"state = '{NEEDS_PERSON}'")}
    ids |= {each.approval_id for each in withdrawals if each.status == "unknown"}
    # Approvals older than the journal have no entry in it.
    return frozenset(each.id for each in executing if each.id in ids or each.owner is None)

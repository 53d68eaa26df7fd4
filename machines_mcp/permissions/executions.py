"""Track which process, if any, is executing an approved call."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_rows import executing_approvals, find, set_owner
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.principal import Principal
from machines_mcp.storage.process_locks import UNOWNED, ProcessLocks

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store

EXECUTION_SECONDS = 90.0
POLL_SECONDS = 0.25

logger = logging.getLogger(__name__)


class Executions:
    """The `executing` approvals of the principal's users. `locks` reports which processes are alive."""

    def __init__(
        self, store: Store, locks: ProcessLocks, principal: Principal, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._principal = principal
        self._clock = clock
        self.locks = locks
        self._released: set[str] = set()

    def running(self, approval: Approval) -> bool:
        """Return whether an `executing` approval may still finish by itself, in this or another process.

        Reads one small file if another process took it.
        """
        if approval.owner is None:
            # The row is older than process ownership.
            return self._clock() - (approval.started_at or approval.created_at) <= EXECUTION_SECONDS
        if self.locks.is_own(approval.owner):
            return approval.id not in self._released
        return self.locks.alive(approval.owner)

    async def ended(self, approval_id: str) -> None:
        """Wait until no process executes the approval any more."""
        while True:
            approval = await self._store.read(lambda db: find(db, self._principal, approval_id))
            if approval is None or approval.state != "executing" or not self.running(approval):
                return
            await anyio.sleep(POLL_SECONDS)  # another process may execute it

    async def interrupted(self) -> list[Approval]:
        """Return the interrupted approvals (executing, but by no live process), oldest first."""

        def work(db: sqlite3.Connection) -> list[Approval]:
            return [one for one in executing_approvals(db, self._principal) if not self.running(one)]

        return await self._store.read(work)

    async def release(self, approval_id: str) -> None:
        """Release an approval that this process stopped executing. Its outcome is unknown; it stays `executing`."""
        self._released.add(approval_id)

        def work(db: sqlite3.Connection) -> None:
            set_owner(db, approval_id, UNOWNED, self.locks.own())

        try:
            await self._store.run(work)
        except StoreUnavailable:
            # This process remembers it; other processes notice when this one exits.
            logger.error("could not store that a call was interrupted")

    async def take_over(self, approval_id: str) -> Approval | None:
        """Claim an interrupted approval. One concurrent caller gets it; None if it ended or is being executed."""

        def work(db: sqlite3.Connection) -> Approval | None:
            approval = find(db, self._principal, approval_id)
            if approval is None or approval.state != "executing" or approval.owner is None or self.running(approval):
                return None
            if not set_owner(db, approval_id, self.locks.own(), approval.owner):
                return None
            self.mark_started(approval_id)
            return approval

        left = approval_id in self._released
        try:
            return await self._store.run(work)
        except StoreUnavailable:
            if left:
                self._released.add(approval_id)
            raise

    def mark_started(self, approval_id: str) -> None:
        """Mark the approval as executed by this process, inside the transaction that stores it."""
        self._released.discard(approval_id)

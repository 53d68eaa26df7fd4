"""End waiting approvals without a call: a person refuses one, or this process withdraws one that it asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from machines_mcp.permissions import approval_rows
from machines_mcp.permissions.approval import Approval, audit_entry
from machines_mcp.permissions.approval_details import WITHDRAWN, Channel, Withdrawn
from machines_mcp.permissions.sealed_identity import SealedIdentity
from machines_mcp.storage.audited_store import AuditedStore
from machines_mcp.storage.principal import Principal

if TYPE_CHECKING:
    import sqlite3

MAX_OWN = 10_000
"""The most requests of this process that are remembered. They are the newest ones."""


class Refusals:
    """Refuses approvals of the principal's users, and withdraws those that this process asked for."""

    def __init__(self, audited: AuditedStore, identity: SealedIdentity, principal: Principal) -> None:
        self._store, self._record, self._clock = audited.store, audited.record, audited.clock
        self._identity = identity
        self._principal = principal
        self._own: dict[str, None] = {}

    def add_own(self, approval_id: str) -> None:
        """Remember that this process asked for this approval."""
        self._own[approval_id] = None
        while len(self._own) > MAX_OWN:
            del self._own[next(iter(self._own))]

    async def refuse(self, approval_id: str, by: Channel) -> bool:
        """Record a person's no. Returns False if the approval is no longer waiting."""
        return await self._store.run(lambda db: self._end(db, approval_id, by))

    async def withdraw(self, approval_id: str) -> Approval | None:
        """Withdraw an approval if it still waits, and return its row as it is then; None if it is not our own.

        A single UPDATE decides, so either this or a person's decision counts.
        """
        if approval_id not in self._own:
            return None

        def work(db: sqlite3.Connection) -> Approval | None:
            self._end(db, approval_id, WITHDRAWN)
            return approval_rows.find(db, self._principal, approval_id)

        return await self._store.run(work)

    def _end(self, db: sqlite3.Connection, approval_id: str, by: Channel | Withdrawn) -> bool:
        self._identity.erase_with(db, approval_id)
        if not approval_rows.set_refused(db, self._principal, approval_id, by, self._clock()):
            return False
        approval = approval_rows.find(db, self._principal, approval_id)
        if approval is None:  # changed just above
            raise AssertionError
        self._record(db, audit_entry("decision", approval, approval.shown_state))
        return True

"""Create, decide, execute and complete the approvals of a state folder.

An id is a reference, never authority: only a grant recorded here lets a call run, once. Each change to a row and its
audit entry are one transaction, so neither is written without the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from machines_mcp.permissions import approval_rows
from machines_mcp.permissions.approval import Approval, admission_entry, audit_entry
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest, Channel
from machines_mcp.permissions.cooldown import refuse_during_cooldown
from machines_mcp.permissions.earlier_calls import noting_earlier
from machines_mcp.permissions.executions import Executions
from machines_mcp.permissions.limits import Stage
from machines_mcp.permissions.refusals import Refusals
from machines_mcp.permissions.sealed_identity import SealedIdentity
from machines_mcp.storage.audit_log import Kind
from machines_mcp.storage.audited_store import AuditedStore
from machines_mcp.storage.card_changes import claim_undo
from machines_mcp.storage.failpoints import failpoint
from machines_mcp.storage.principal import Principal

if TYPE_CHECKING:
    import sqlite3

    CheckLimits: TypeAlias = Callable[
        [sqlite3.Connection, Stage, CallRequest, ApprovalDetails, float, str | None], None
    ]

T = TypeVar("T")

NO_DETAILS = ApprovalDetails(question="")
OPEN_SECONDS = 15 * 60
GRANT_SECONDS = 5 * 60


class ApprovalStore:
    """The approvals of the principal's users in one state folder.

    `check_limits` raises `LimitExceeded`. It runs inside the caller's transaction.
    """

    def __init__(
        self,
        audited: AuditedStore,
        check_limits: CheckLimits,
        executions: Executions,
        identity: SealedIdentity,
        refusals: Refusals,
        principal: Principal,
        *,
        policy_digest: str,
    ) -> None:
        self._store, self._record, self._clock = audited.store, audited.record, audited.clock
        self._check_limits = check_limits
        self._policy_digest = policy_digest
        self._principal = principal
        self.executions = executions
        self.running = executions.running
        self.identity = identity
        self.refusals = refusals
        self.refuse = refusals.refuse

    async def open(self, call_request: CallRequest, details: ApprovalDetails) -> Approval:
        """Return the waiting approval for this call, an existing or a new one: for 15 minutes or until its terms end.

        Raises:
            LimitExceeded: A policy limit forbids it, or a cooldown after three refusals in ten minutes.
        """
        now = self._clock()

        def work(db: sqlite3.Connection) -> Approval:
            refuse_during_cooldown(db, call_request, now)
            self.identity.erase_expired(db)
            noted = noting_earlier(db, call_request, details, now)
            twin = approval_rows.waiting_duplicate(db, call_request, noted, self._policy_digest, now)
            if twin is not None:
                return twin
            self._check_limits(db, "wait", call_request, noted, now, None)
            self._check_limits(db, "ask", call_request, noted, now, None)
            approval = self._insert(db, call_request, noted, now)
            self._record(db, audit_entry("approval_request", approval))
            return approval

        opened = await self._run("approval.opened", work)
        if opened.sealed is not None:
            self.identity.erase_later(OPEN_SECONDS)
        return opened

    async def open_granted(
        self, call_request: CallRequest, details: ApprovalDetails, by: Literal["operator", "policy", "desk"]
    ) -> Approval:
        """Create an approval that is already granted and executing. Nobody is asked, but limits count it.

        Raises:
            LimitExceeded: A policy limit forbids it.
            AlreadyUndone: Another approval undoes the same lock.
        """

        def work(db: sqlite3.Connection) -> Approval:
            # Nobody is asked, so nobody needs the identity data.
            now = self._clock()
            noted = noting_earlier(db, call_request, replace(details, identity=()), now)
            self._check_limits(db, "allow", call_request, noted, now, None)
            approval = self._insert(db, call_request, noted, now)
            if not (self._grant(db, approval.id, by) and self._consume(db, approval)):  # inserted just above
                raise AssertionError
            return approval

        return await self._run("approval.consumed", work)

    def _insert(
        self, db: sqlite3.Connection, call_request: CallRequest, details: ApprovalDetails, now: float
    ) -> Approval:
        expires_at, seal = details.expiry(now + OPEN_SECONDS), self.identity.seal
        approval = approval_rows.insert(db, call_request, details, self._policy_digest, now, expires_at, seal)
        if details.undoes is not None:
            claim_undo(db, details.undoes, approval.id)
        self.refusals.add_own(approval.id)
        return approval

    async def admit(self, call_request: CallRequest, details: ApprovalDetails = NO_DETAILS) -> None:
        """Check the limits for a call that needs no approval, and record it before it runs.

        Raises:
            LimitExceeded: A policy limit forbids it.
        """
        now = self._clock()

        def work(db: sqlite3.Connection) -> None:
            self._check_limits(db, "admit", call_request, details, now, None)
            self._record(db, admission_entry(call_request, details, self._principal.recorded_as))

        await self._store.run(work)

    async def get(self, approval_id: str) -> Approval | None:
        """Return the approval with this id, or None."""
        return await self._store.read(lambda db: approval_rows.find(db, self._principal, approval_id))

    async def recent(self, limit: int) -> list[Approval]:
        """Return the newest approvals in any state, newest first."""
        return await self._store.read(lambda db: approval_rows.newest_approvals(db, self._principal, limit))

    async def waiting(self) -> list[Approval]:
        """Return the approvals that a person can still decide, oldest first."""
        now = self._clock()
        return await self._store.read(lambda db: approval_rows.waiting_approvals(db, self._principal, now))

    async def grant(self, approval_id: str, by: Channel) -> bool:
        """Record a person's yes, valid for 5 minutes. Returns False if the approval is no longer waiting.

        Raises:
            Frozen: The changes of this user are frozen. The approval goes on waiting.
            LimitExceeded: A limit that held when the person was asked would be exceeded now. It goes on waiting.
        """
        return await self._run("approval.granted", lambda db: self._grant(db, approval_id, by))

    async def consume(self, approval: Approval) -> bool:
        """Use the grant for one execution. A single UPDATE decides, so only one concurrent caller gets True.

        Raises:
            LimitExceeded: A limit that held when the person was asked would be exceeded now.
        """
        return await self._run("approval.consumed", lambda db: self._consume(db, approval))

    async def grant_and_consume(self, approval: Approval, by: Channel) -> bool:
        """Grant and consume in one transaction, for a page that executes the call itself.

        Raises:
            LimitExceeded: As for `consume`; nothing is granted then.
        """
        return await self._run(
            "approval.consumed", lambda db: self._grant(db, approval.id, by) and self._consume(db, approval)
        )

    async def return_grant(self, approval_id: str) -> None:
        """Undo `consume` if nothing was started. The grant is valid again for the rest of its 5 minutes."""
        await self._undo(approval_rows.undo_executing, approval_id)

    async def reopen(self, approval_id: str) -> None:
        """Undo `grant_and_consume` if nothing was started. The approval waits again for its grant's time."""
        await self._undo(approval_rows.undo_decision, approval_id)

    async def _undo(self, undo: Callable[[sqlite3.Connection, str], bool], approval_id: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            if undo(db, approval_id):
                self._record_change(db, "outcome", approval_id, "not_begun")

        await self._store.run(work)

    async def finish(self, approval_id: str, outcome: str, *, ok: bool, code: str) -> None:
        """Store the first outcome (JSON), which repeated calls return. `code` is `ok` or the error's code."""

        def work(db: sqlite3.Connection) -> None:
            state: Literal["done", "failed"] = "done" if ok else "failed"
            if approval_rows.set_outcome(db, approval_id, state, outcome):
                self._record_change(db, "outcome", approval_id, state, code)

        await self._run("outcome.kept", work)

    async def _run(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        done = await self._store.run(work)
        failpoint(name)
        return done

    def _grant(self, db: sqlite3.Connection, approval_id: str, by: Channel) -> bool:
        now = self._clock()
        self.identity.erase_with(db, approval_id)
        waiting = approval_rows.find(db, self._principal, approval_id)
        if waiting is None:
            return False
        until = waiting.details.expiry(now + GRANT_SECONDS)
        granted = approval_rows.set_granted(db, self._principal, approval_id, by, now, until)
        approval = approval_rows.find(db, self._principal, approval_id) if granted else None
        if approval is not None:
            # Raising rolls back the transaction.
            self._check_limits(db, "grant", approval.request, approval.details, now, approval_id)
            self._record(db, audit_entry("decision", approval, "granted"))
        return granted

    def _consume(self, db: sqlite3.Connection, approval: Approval) -> bool:
        now, owner = self._clock(), self.executions.locks.own()
        taken = approval_rows.set_executing(db, approval, self._policy_digest, owner, now)
        if taken:
            # Raising rolls back the transaction.
            self._check_limits(db, "use", approval.request, approval.details, now, approval.id)
            self.executions.mark_started(approval.id)
            self._record_change(db, "call", approval.id, "executing")
        return taken

    def _record_change(
        self, db: sqlite3.Connection, kind: Kind, approval_id: str, verdict: str, code: str | None = None
    ) -> None:
        approval = approval_rows.find(db, self._principal, approval_id)
        if approval is not None:
            self._record(db, audit_entry(kind, approval, verdict, code))

    def is_valid(self, approval: Approval) -> bool:
        """Return whether the approval has not timed out and was judged under the current policy."""
        return approval.expires_at > self._clock() and approval.policy == self._policy_digest

    def is_expired(self, approval: Approval) -> bool:
        """Return whether the approval waits or is granted but can no longer be used."""
        return approval.state in ("waiting", "granted") and not self.is_valid(approval)

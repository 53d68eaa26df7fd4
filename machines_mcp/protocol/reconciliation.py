"""Reconcile approved calls that were interrupted by a crash, a lost response or a full disk.

Each tool's `reconcile` finds the outcome, when the server starts and when a call names the approval. At most one task
of one server reconciles a call at a time. The outcome is stored as if the call had returned it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import anyio

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.authorizer import Authorization
from machines_mcp.permissions.executions import EXECUTION_SECONDS
from machines_mcp.permissions.factory import Guard
from machines_mcp.protocol.approval_errors import not_executed
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.execution import NO_RECONCILE, ToolRunner
from machines_mcp.protocol.tool import Completed, NeedsPerson, NotExecuted, Reconciliation, RetryLater, Tool
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.failpoints import failpoint
from machines_mcp.storage.journal import JournalEntry, ReadOnly
from machines_mcp.storage.migrations.stored_names import NEEDS_PERSON, NeedsPersonState

logger = logging.getLogger(__name__)

START_SECONDS = 60.0
"""How long startup retries unresolved calls; later, calls that name them do."""
CALL_SECONDS = 20.0
"""How long a call waits for a reconciled outcome."""
AGAIN_SECONDS = 5.0
"""The delay after a failed attempt, for example when Machines is unreachable."""
FROZEN_SECONDS = 30.0
"""The delay while a freeze prevents it. It is longer than a call waits, because a person must lift the freeze."""
_FROZEN = (
    "It is not known whether this happened. Finding out would send a change, and a person froze changes. Tell the user"
    " that a person can lift the freeze with machines-mcp unfreeze."
)
# A pause too short to move the clock would repeat for ever.
_SHORTEST_SECONDS = 0.1
_AT_ONCE = 4

_Closed: TypeAlias = Literal["done", "rejected"] | NeedsPersonState


class Reconciler:
    """Reconciles interrupted calls. `tools` includes disabled ones, which may have left interrupted calls."""

    def __init__(self, guard: Guard, tools: Mapping[str, Tool], runner: ToolRunner) -> None:
        self._guard = guard
        self._tools = tools
        self.runner = runner
        self._attempts: dict[str, _Attempt] = {}

    async def reconcile(self, approval: Approval) -> Authorization | None:
        """Reconcile this approval within 20 seconds. Return None once its outcome is stored."""
        until = anyio.current_time() + CALL_SECONDS
        while True:
            authorization = await self._attempt(approval)
            pause = authorization.seconds if authorization is not None else None
            if pause is None or anyio.current_time() + pause > until:
                return authorization
            await anyio.sleep(max(pause, _SHORTEST_SECONDS))

    def is_reconciling(self, approval: Approval) -> bool:
        """Return whether this server is reconciling the approval. `reconcile` then waits for the result."""
        return approval.id in self._attempts

    async def reconcile_all(self) -> None:
        """Reconcile all interrupted calls, for at most a minute. Skip those that a person must resolve.

        Identity data that an earlier process left with an approval is erased when that expires.
        """
        with anyio.move_on_after(START_SECONDS):
            await self._guard.approvals.identity.erase_leftovers()
            while (pause := await self._round()) is not None:  # noqa: ASYNC110 - there is no event to wait for
                await anyio.sleep(pause)

    async def _round(self) -> float | None:
        """Reconcile each call once. Return the seconds until the next round, or None if none is needed."""
        pauses: list[float] = []
        places = anyio.Semaphore(_AT_ONCE)

        async def one(approval: Approval) -> None:
            async with places:
                authorization = await self._attempt(approval)
            if authorization is not None and authorization.seconds is not None:
                pauses.append(authorization.seconds)

        try:
            interrupted = await self._guard.approvals.executions.interrupted()
            async with anyio.create_task_group() as tasks:
                for approval in interrupted:
                    tasks.start_soon(one, approval)
            await self._close_the_rest({approval.id for approval in interrupted})
        except StoreUnavailable:
            return AGAIN_SECONDS
        return max(1.0, min(pauses)) if pauses else None

    async def _close_the_rest(self, interrupted: set[str]) -> None:
        """Close journal entries without an interrupted approval: calls that needed none (all safe to repeat), and calls
        whose outcome was stored but whose entry was not."""
        for entry in await self._guard.journal.unresolved():
            if entry.state == NEEDS_PERSON or entry.approval_id in interrupted:
                continue
            approval = None if entry.approval_id is None else await self._guard.approvals.get(entry.approval_id)
            if approval is None or approval.state != "executing":
                happened = approval is not None and approval.state == "done"
                await self._guard.journal.close(entry.id, "done" if happened else "unknown")

    async def _attempt(self, approval: Approval) -> Authorization | None:
        """Reconcile once, or wait for an attempt already under way."""
        look = self._attempts.get(approval.id)
        if look is not None:
            await look.over.wait()
            return look.authorization
        look = self._attempts[approval.id] = _Attempt(Authorization("later", approval, seconds=AGAIN_SECONDS))
        try:
            # Shielded like a running call: a cancelled caller must not leave the outcome half recorded.
            with anyio.move_on_after(EXECUTION_SECONDS, shield=True):
                look.authorization = await self._take_over(approval)
        finally:
            del self._attempts[approval.id]
            look.over.set()
        return look.authorization

    async def _take_over(self, approval: Approval) -> Authorization | None:
        if approval.owner is None:
            # Approved before the journal existed, so a missing entry proves nothing.
            return Authorization("needs_person", approval)
        taken = await self._guard.approvals.executions.take_over(approval.id)
        if taken is None:
            return None
        failpoint("reconciliation.begun")
        try:
            authorization = await self._reconcile(taken)
        except BaseException as error:
            await self._guard.approvals.executions.release(approval.id)
            if not isinstance(error, Exception):
                raise
            logger.error("a call could not be reconciled: %s", type(error).__name__)
            return Authorization("later", taken, seconds=AGAIN_SECONDS)
        failpoint("reconciliation.ended")
        return authorization

    async def _reconcile(self, approval: Approval) -> Authorization | None:
        entries = await self._guard.journal.for_approval(approval.id)
        try:
            outcome = await self._ask_tool(approval, entries)
        except ReadOnly:
            # Not stored: a server with the policy that allowed it can still find out.
            await self._guard.approvals.executions.release(approval.id)
            return Authorization("needs_person", approval)
        match outcome:
            case Completed(output, reference):
                await self._close(approval, "done", reference)
                await self.runner.store_outcome(approval, self.runner.tool_run(output, approval.user_id))
                await self._guard.known_users.succeeded(approval.user_id, changed=True)
            case NotExecuted(why):
                await self._close(approval, "rejected")
                await self._return_or_fail(approval, why)
            case NeedsPerson(why):
                await self._close(approval, NEEDS_PERSON, note=why)
                await self._guard.approvals.executions.release(approval.id)
                return Authorization("needs_person", approval)
            case RetryLater(seconds, why):
                await self._guard.approvals.executions.release(approval.id)
                return Authorization("later", approval, seconds=seconds, why=why)
        return None

    async def _ask_tool(self, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
        waits = [entry.note or "" for entry in entries if entry.state == NEEDS_PERSON]
        if waits:
            # A person was already asked to resolve it, so leave the decision to them.
            return NeedsPerson(waits[0])
        tool = self._tools.get(approval.tool)
        if tool is None:
            return NeedsPerson(NO_RECONCILE)
        # A call allowed under another policy may be looked up, but not sent again.
        other_policy = approval.policy != self._guard.policy.digest
        try:
            return await self.runner.reconcile(tool, approval, entries, read_only=other_policy)
        except ToolError as tool_error:
            logger.warning("a call can't be reconciled now: %s", tool_error.code.value)
            if tool_error.code is Code.POLICY_FROZEN:
                return RetryLater(FROZEN_SECONDS, _FROZEN)
            return RetryLater(AGAIN_SECONDS)

    async def _close(
        self, approval: Approval, state: _Closed, reference: str | None = None, note: str | None = None
    ) -> None:
        # Read again, because reconciling may have resent the request.
        for entry in await self._guard.journal.for_approval(approval.id):
            if entry.state in ("pending", "unknown"):
                await self._guard.journal.close(entry.id, state, reference, note=note)

    async def _return_or_fail(self, approval: Approval, why: str) -> None:
        """Give the approval back if it is still usable; otherwise store the failure."""
        if approval.details.only is None and self._guard.approvals.is_valid(approval):
            await self._guard.authorizer.return_grant(approval)
        else:
            await self.runner.store_error(approval, not_executed(approval, why))


class _Attempt:
    """A reconciliation under way, shared by all callers that wait for it."""

    def __init__(self, authorization: Authorization | None) -> None:
        self.authorization = authorization
        self.over = anyio.Event()

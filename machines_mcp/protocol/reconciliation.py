"""What became of granted calls that were cut short: by a crash, a lost answer, or a disk that was full.

Each is looked into by its tool's `settle`, at the server's start and when a call names it. Of many servers over one
folder, and many calls in one, a single one does so at a time. What comes of it is kept as if the call had ended so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import anyio

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.authorizer import Authorization
from machines_mcp.permissions.executions import EXECUTION_SECONDS
from machines_mcp.permissions.factory import Guard
from machines_mcp.protocol.approval_errors import not_executed
from machines_mcp.protocol.errors import ToolError
from machines_mcp.protocol.execution import ToolRunner, tool_run
from machines_mcp.protocol.tool import Call, Completed, NeedsPerson, NotExecuted, Reconciliation, RetryLater, Tool
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.failpoints import failpoint
from machines_mcp.storage.journal import CallContext, JournalEntry, ReadOnly

logger = logging.getLogger(__name__)

START_SECONDS = 60.0
"""How long the start goes on with what can't be told yet; after it, calls that name it do."""
CALL_SECONDS = 20.0
"""How long a call waits until it can be told."""
AGAIN_SECONDS = 5.0
"""After a look that failed: Machines can't be reached, say."""
_AT_ONCE = 4

_Closed: TypeAlias = Literal["done", "rejected", "manual"]


class Reconciler:
    """Looks into calls that were cut short. `tools` are all there are: one may be switched off since."""

    def __init__(self, guard: Guard, tools: Mapping[str, Tool], running: ToolRunner, services: Any) -> None:
        self._guard = guard
        self._tools = tools
        self._running = running
        self._services = services
        self._attempts: dict[str, _Attempt] = {}

    async def reconcile(self, approval: Approval) -> Authorization | None:
        """Find out, within 20 seconds, what became of this intent: None once its row says so."""
        until = anyio.current_time() + CALL_SECONDS
        while True:
            authorization = await self._attempt(approval)
            pause = authorization.seconds if authorization is not None else None
            if pause is None or anyio.current_time() + pause > until:
                return authorization
            await anyio.sleep(pause)

    async def reconcile_all(self) -> None:
        """Look into all that was cut short, for at most a minute; what a person must say is left to them."""
        with anyio.move_on_after(START_SECONDS):
            while (pause := await self._round()) is not None:  # noqa: ASYNC110 - time is all that is waited for
                await anyio.sleep(pause)

    async def _round(self) -> float | None:
        """Look into each once. The seconds until the next round, None where none is needed."""
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
        """Entries that no intent waits for: of what nobody is asked about, all of which may be done twice; and of what
        has its outcome, but could not be written here."""
        for entry in await self._guard.journal.unresolved():
            if entry.state == "manual" or entry.approval_id in interrupted:
                continue
            approval = None if entry.approval_id is None else await self._guard.approvals.get(entry.approval_id)
            if approval is None or approval.state != "executing":
                happened = approval is not None and approval.state == "done"
                await self._guard.journal.close(entry.id, "done" if happened else "unknown")

    async def _attempt(self, approval: Approval) -> Authorization | None:
        """Look once, or wait for who does so already."""
        look = self._attempts.get(approval.id)
        if look is not None:
            await look.over.wait()
            return look.authorization
        look = self._attempts[approval.id] = _Attempt(Authorization("later", approval, seconds=AGAIN_SECONDS))
        try:
            # As for a call that runs: once begun, nobody who gives up leaves it half known.
            with anyio.move_on_after(EXECUTION_SECONDS, shield=True):
                look.authorization = await self._take_over(approval)
        finally:
            del self._attempts[approval.id]
            look.over.set()
        return look.authorization

    async def _take_over(self, approval: Approval) -> Authorization | None:
        if approval.owner is None:
            # Taken before there was a journal, so that it holds nothing proves nothing.
            return Authorization("manual", approval)
        taken = await self._guard.approvals.executions.take_over(approval.id)
        if taken is None:
            return None
        failpoint("settling.begun")
        try:
            authorization = await self._reconcile(taken)
        except BaseException as error:
            await self._guard.approvals.executions.release(approval.id)
            if not isinstance(error, Exception):
                raise
            logger.error("what became of a call could not be found out: %s", type(error).__name__)
            return Authorization("later", taken, seconds=AGAIN_SECONDS)
        failpoint("settling.ended")
        return authorization

    async def _reconcile(self, approval: Approval) -> Authorization | None:
        entries = await self._guard.journal.for_approval(approval.id)
        settled = await self._ask_tool(approval, entries)
        match settled:
            case Completed(output, reference):
                await self._close(approval, "done", reference)
                await self._running.store_outcome(approval, tool_run(output))
            case NotExecuted(why):
                await self._close(approval, "rejected")
                await self._return_or_fail(approval, why)
            case NeedsPerson(why):
                await self._close(approval, "manual", note=why)
                await self._guard.approvals.executions.release(approval.id)
                return Authorization("manual", approval)
            case RetryLater(seconds, why):
                await self._guard.approvals.executions.release(approval.id)
                return Authorization("later", approval, seconds=seconds, why=why)
        return None

    async def _ask_tool(self, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
        waits = [entry.note or "" for entry in entries if entry.state == "manual"]
        if waits:
            # Once a person is called, nothing is decided behind their back.
            return NeedsPerson(waits[0])
        tool = self._tools.get(approval.tool)
        if tool is None or tool.reconcile is None:
            return NeedsPerson("This version has no way to find out whether it happened.")
        call = Call(approval.user_id, approval.idempotency_key, self._services, _no_progress)
        # What another policy let through may be looked for, but is not sent once more.
        other_policy = approval.policy != self._guard.policy.digest
        about = CallContext(approval.id, tool.name, approval.user_id, read_only=other_policy)
        try:
            return await self._running.map_errors(tool, tool.reconcile(call, approval, entries), about)
        except ToolError as tool_error:
            logger.warning("what became of a call can't be found out now: %s", tool_error.code.value)
            return RetryLater(AGAIN_SECONDS)
        except ReadOnly:
            return NeedsPerson("It would have to be sent once more, and the policy has changed since it was allowed.")

    async def _close(
        self, approval: Approval, state: _Closed, reference: str | None = None, note: str | None = None
    ) -> None:
        # Read anew: looking may have sent it again.
        for entry in await self._guard.journal.for_approval(approval.id):
            if entry.state in ("pending", "unknown"):
                await self._guard.journal.close(entry.id, state, reference, note=note)

    async def _return_or_fail(self, approval: Approval, why: str) -> None:
        """Give the grant back, where it can still be used; else the call has failed."""
        if approval.details.only is None and self._guard.approvals.is_valid(approval):
            await self._guard.authorizer.return_grant(approval)
        else:
            await self._running.store_error(approval, not_executed(approval, why))


class _Attempt:
    """One look under way, which all wait for who would look as well."""

    def __init__(self, authorization: Authorization | None) -> None:
        self.authorization = authorization
        self.over = anyio.Event()


async def _no_progress(fraction: float, message: str) -> None:
    pass

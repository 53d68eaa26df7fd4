"""Run a tool: map its errors, store its outcome, and shield approved calls from cancellation."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.authorizer import Authorizer
from machines_mcp.permissions.executions import EXECUTION_SECONDS
from machines_mcp.protocol.approval_errors import outcome_unknown
from machines_mcp.protocol.errors import NOT_BEGUN, Code, NextStep, ToolError
from machines_mcp.protocol.responses import STATUS
from machines_mcp.protocol.tool import Call, Input, Output, Tool
from machines_mcp.redaction.message_masking import MessageMasking
from machines_mcp.redaction.verbatim import collect_verbatim
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.journal import CallContext, call_context

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_USERS = 50
# Nothing was changed, so the person can fix the form or send it again.
_MENDABLE = NOT_BEGUN | {Code.INPUT_INVALID, Code.PARTNER_REJECTED}


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A tool's result: the outcome to store, its summary, values never stored, and values to show verbatim."""

    outcome: dict[str, Any]
    summary: str
    ephemeral: dict[str, str]
    verbatim: frozenset[str]


class ToolRunner:
    """Runs tools. `explain` maps API errors; `shows` detects secrets in a text, which must not be stored."""

    def __init__(
        self,
        authorizer: Authorizer,
        explain: Callable[[Exception, Tool], ToolError | None],
        shows: Callable[[str], bool],
    ) -> None:
        self._authorizer = authorizer
        self._explain = explain
        self.contains_secret = shows
        self.users: dict[str, None] = {}
        """The users of successful calls, oldest first; at most 50."""

    async def run(self, tool: Tool, call: Call[Any], arguments: Input) -> ToolRun:
        """Run the tool.

        Raises:
            Refusal: An error from the catalogue.
        """
        return await self._run(tool, call, arguments, CallContext(None, tool.name, call.user_id))

    async def _run(self, tool: Tool, call: Call[Any], arguments: Input, about: CallContext) -> ToolRun:
        output: Output = await self.map_errors(tool, tool.run(call, arguments), about)
        if call.user_id:
            self.users[call.user_id] = None
            if len(self.users) > MOST_USERS:
                del self.users[next(iter(self.users))]
        return tool_run(output)

    async def map_errors(self, tool: Tool, work: Awaitable[T], about: CallContext | None = None) -> T:
        """Return the result of `work`, mapping its errors to the catalogue. The journal records it under `about`."""
        was = call_context.set(about)
        try:
            return await work
        except (ToolError, StoreUnavailable):
            raise
        except Exception as error:
            tool_error = self._explain(error, tool)
            if tool_error is None:
                raise
        finally:
            call_context.reset(was)
        raise tool_error

    async def execute(self, tool: Tool, call: Call[Any], arguments: Input, approval: Approval) -> ToolRun:
        """Run an approved call, shielded: a cancellation must not leave its outcome half recorded.

        Raises:
            Refusal: An error from the catalogue. It is the call's outcome, unless that is unresolved.
            StoreUnavailable: The state folder can't be used, so no request was sent to Machines.
        """
        about = CallContext(approval.id, tool.name, call.user_id)
        with anyio.CancelScope(shield=True):
            try:
                with anyio.fail_after(EXECUTION_SECONDS):
                    ran = await self._run(tool, call, arguments, about)
            except ToolError as tool_error:
                raise await self._after_error(approval, tool_error) from None
            except BaseException as error:
                # The row stays `executing` until the call is reconciled.
                await self._authorizer.release(approval)
                sent_nothing = (
                    isinstance(error, StoreUnavailable) and tool.reconcile is not None and not about.mutations
                )
                if sent_nothing or not isinstance(error, Exception):
                    raise
                logger.error("an approved call failed unexpectedly: %s", type(error).__name__)
                raise outcome_unknown(approval, see=[STATUS]) from None
            await self.store_outcome(approval, ran)
        return ran

    async def store_outcome(self, approval: Approval, ran: ToolRun) -> None:
        """Store the outcome of an approved call, for repeated calls."""
        # What the output filter would mask must not be stored in the state folder either.
        await self._store(approval, MessageMasking(ran.verbatim).masked(ran.outcome), "ok", ok=True)

    async def store_error(self, approval: Approval, tool_error: ToolError) -> None:
        """Store an error as the outcome of an approved call."""
        await self._store(approval, tool_error.payload(), tool_error.code.value, ok=False)

    async def _after_error(self, approval: Approval, tool_error: ToolError) -> ToolError:
        if tool_error.code is Code.OUTCOME_UNKNOWN:
            await self._authorizer.release(approval)
            seconds = tool_error.details.get("retry_after_seconds")
            if isinstance(seconds, int):
                # The tool says what is unfinished and when to retry.
                return outcome_unknown(approval, seconds, why=tool_error.message)
            return outcome_unknown(approval, see=tool_error.next_steps)
        if approval.details.only == "form" and tool_error.code in _MENDABLE:
            await self._reopen(approval)
            return tool_error
        if tool_error.code in NOT_BEGUN:
            return await self._return_grant(approval, tool_error)
        await self.store_error(approval, tool_error)
        return tool_error

    async def _reopen(self, approval: Approval) -> None:
        """Reopen the form: the person still has it open, with the values they typed."""
        try:
            await self._authorizer.reopen(approval)
        except StoreUnavailable:
            await self._authorizer.release(approval)
            logger.error("an unsent form could not be reopened")

    async def _return_grant(self, approval: Approval, tool_error: ToolError) -> ToolError:
        if approval.details.only is not None:
            # Its page has closed, and no other channel can use the approval.
            await self.store_error(approval, tool_error)
            return tool_error
        try:
            await self._authorizer.return_grant(approval)
        except StoreUnavailable:
            await self._authorizer.release(approval)
            logger.error("an unused approval could not be given back")
            return tool_error
        why = "Repeat the same call in a moment; within 5 minutes of the approval it needs no new one."
        return ToolError(
            tool_error.code,
            message=tool_error.message,
            details=tool_error.details | {"approval_id": approval.id},
            next_steps=[NextStep(approval.tool, why, {"approval_id": approval.id}), *tool_error.next_steps],
        )

    async def _store(self, approval: Approval, outcome: dict[str, Any], code: str, *, ok: bool) -> None:
        kept = json.dumps(outcome)
        if self.contains_secret(kept):
            # The output filter withholds this result too. A repeated call gets `outcome.unknown` and a step to status.
            unknown = ToolError(Code.OUTCOME_UNKNOWN, next_steps=[STATUS])
            kept, ok, code = json.dumps(unknown.payload()), False, unknown.code.value
        try:
            await self._authorizer.finish(approval, kept, ok=ok, code=code)
        except StoreUnavailable:
            # The caller still gets the outcome. A repeated call finds the row `executing` and reconciles it.
            await self._authorizer.release(approval)
            logger.error("the outcome of an approved call could not be stored")


def tool_run(output: Output) -> ToolRun:
    """Split a tool's output into what to store, show once and show verbatim."""
    kept = output.model_dump(mode="json", exclude_none=True)
    return ToolRun(kept, output.summary(), output.ephemeral(), frozenset(collect_verbatim(output)))

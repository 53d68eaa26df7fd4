"""Running a tool's function: what it may raise, what is kept of it, and the shield round what was granted."""

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
# Nothing was changed, and a person who mends the form, or sends it again, may have it pass.
_MENDABLE = NOT_BEGUN | {Code.INPUT_INVALID, Code.PARTNER_REJECTED}


@dataclass(frozen=True, slots=True)
class ToolRun:
    """What a tool returned: what may be stored, a sentence, what one answer adds, what it shows to the letter."""

    outcome: dict[str, Any]
    summary: str
    ephemeral: dict[str, str]
    verbatim: frozenset[str]


class ToolRunner:
    """`explain` knows upstream's errors; `shows` says whether a text holds a secret and so must not be kept."""

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
        """The users that calls went well for, the oldest first; at most 50."""

    async def run(self, tool: Tool, call: Call[Any], arguments: Input) -> ToolRun:
        """Run the tool.

        Raises:
            Refusal: An error of the catalogue.
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
        """The result of `work`, or what is known of why there is none. In the journal it stands under `about`."""
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
        """Run what a person granted. Shielded: once it has begun, a cancelled call must not leave it half known.

        Raises:
            Refusal: An error of the catalogue. It is the call's outcome, unless nobody knows that yet.
            StoreUnavailable: Nothing was asked of Machines, because it could not have been remembered.
        """
        about = CallContext(approval.id, tool.name, call.user_id)
        with anyio.CancelScope(shield=True):
            try:
                with anyio.fail_after(EXECUTION_SECONDS):
                    ran = await self._run(tool, call, arguments, about)
            except ToolError as tool_error:
                raise await self._after_error(approval, tool_error) from None
            except BaseException as error:
                # The row stays `executing`: whether it happened is to be found out.
                await self._authorizer.release(approval)
                sent_nothing = (
                    isinstance(error, StoreUnavailable) and tool.reconcile is not None and not about.mutations
                )
                if sent_nothing or not isinstance(error, Exception):
                    raise
                logger.error("a granted call ended unforeseen: %s", type(error).__name__)
                raise outcome_unknown(approval, see=[STATUS]) from None
            await self.store_outcome(approval, ran)
        return ran

    async def store_outcome(self, approval: Approval, ran: ToolRun) -> None:
        """Keep the outcome of a granted call, to be given again to a repeated one."""
        # What the guard would mask on its way out must not lie in the state folder either.
        await self._store(approval, MessageMasking(ran.verbatim).masked(ran.outcome), "ok", ok=True)

    async def store_error(self, approval: Approval, tool_error: ToolError) -> None:
        """Keep a refusal as the outcome of a granted call."""
        await self._store(approval, tool_error.payload(), tool_error.code.value, ok=False)

    async def _after_error(self, approval: Approval, tool_error: ToolError) -> ToolError:
        if tool_error.code is Code.OUTCOME_UNKNOWN:
            await self._authorizer.release(approval)
            seconds = tool_error.details.get("retry_after_seconds")
            if isinstance(seconds, int):
                # The tool knows what it is that is not finished, and when to come back.
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
        """The person sits before the form still, with what they typed."""
        try:
            await self._authorizer.reopen(approval)
        except StoreUnavailable:
            await self._authorizer.release(approval)
            logger.error("a form that was not sent could not be opened again")

    async def _return_grant(self, approval: Approval, tool_error: ToolError) -> ToolError:
        if approval.details.only is not None:
            # Its page is gone by now, and nothing else can use the grant.
            await self.store_error(approval, tool_error)
            return tool_error
        try:
            await self._authorizer.return_grant(approval)
        except StoreUnavailable:
            await self._authorizer.release(approval)
            logger.error("a grant that was not used could not be given back")
            return tool_error
        why = "The same call again in a moment; within 5 minutes of the approval nobody is asked again."
        return ToolError(
            tool_error.code,
            message=tool_error.message,
            details=tool_error.details | {"approval_id": approval.id},
            next_steps=[NextStep(approval.tool, why, {"approval_id": approval.id}), *tool_error.next_steps],
        )

    async def _store(self, approval: Approval, outcome: dict[str, Any], code: str, *, ok: bool) -> None:
        kept = json.dumps(outcome)
        if self.contains_secret(kept):
            # Nor will the answer itself leave; whoever repeats the call is told to look at the state.
            unknown = ToolError(Code.OUTCOME_UNKNOWN, next_steps=[STATUS])
            kept, ok, code = json.dumps(unknown.payload()), False, unknown.code.value
        try:
            await self._authorizer.finish(approval, kept, ok=ok, code=code)
        except StoreUnavailable:
            # What happened, happened, and is told; a repeated call will find the row still `executing`.
            await self._authorizer.release(approval)
            logger.error("the outcome of a granted call could not be stored")


def tool_run(output: Output) -> ToolRun:
    """What a tool returned, taken apart."""
    kept = output.model_dump(mode="json", exclude_none=True)
    return ToolRun(kept, output.summary(), output.ephemeral(), frozenset(collect_verbatim(output)))

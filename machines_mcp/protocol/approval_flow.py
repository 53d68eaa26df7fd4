"""Get a person's approval before a call runs: in the client's dialog, by approval id, or on the call's own page."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.authorizer import Authorization, Authorizer
from machines_mcp.protocol import elicitation
from machines_mcp.protocol.approval_errors import approval_required
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.execution import ToolRunner
from machines_mcp.protocol.tool import Call, Input, Tool

Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class ApprovalFlow:
    """Runs the approval flow. `desk` starts the desk and returns its address, or None if it can't run.

    `open_call` makes the context for a tool's functions; `let_show` lets a response show values verbatim.
    """

    authorizer: Authorizer
    runner: ToolRunner
    desk: Callable[[], Awaitable[str | None]]
    open_call: Callable[[Context | None, Input, str], Call[Any]]
    allow_verbatim: Callable[[Context, Iterable[str]], None]

    async def authorize(
        self,
        ctx: Context,
        tool: Tool,
        arguments: Input,
        call_request: CallRequest,
        params: types.CallToolRequestParams,
        approval_id: str | None,
    ) -> Authorization | types.InputRequiredResult:
        """Return the call's authorization, or an elicitation request for the client to show."""
        if params.request_state is not None:
            authorization = await self.authorizer.resume(call_request, params.request_state)
            if (
                authorization.verdict != "waiting"
                or authorization.approval is None
                or not await self.authorizer.dialog_can_approve(authorization.approval)
            ):
                return authorization
            answer = elicitation.read_answer(params)
        elif approval_id is not None:
            return await self.authorizer.resume(call_request, approval_id)
        else:
            authorization = await self.authorizer.request(
                call_request, await self._approval_details(ctx, tool, arguments)
            )
            if (
                authorization.verdict != "waiting"
                or authorization.approval is None
                or not elicitation.supports_forms(ctx)
            ):
                return authorization
            if not await self.authorizer.dialog_can_approve(authorization.approval):
                return authorization
            if authorization.approval.details.destination is not None:
                # The person must see the destination of the money in full.
                self.allow_verbatim(ctx, [authorization.approval.dialog])
            if elicitation.asks_in_result(ctx):
                return elicitation.question_result(authorization.approval.dialog, authorization.approval.id)
            answer = await elicitation.ask(ctx, authorization.approval.dialog)
        if answer == "nothing":
            return authorization
        return await self.authorizer.decide(authorization.approval, yes=answer == "yes")

    async def _approval_details(self, ctx: Context, tool: Tool, arguments: Input) -> ApprovalDetails:
        if tool.approval_details is None:
            # A write that the policy requires approval for: no limit counts it, and the title is all there is to show.
            return ApprovalDetails(question=f"Allow this call: {tool.title}?")
        call = self.open_call(ctx, arguments, uuid.uuid4().hex)
        details: ApprovalDetails = await self.runner.map_errors(tool, tool.approval_details(call, arguments))
        details = details.masked()
        if self.runner.contains_secret(details.as_json()):
            raise ToolError(Code.OUTPUT_BLOCKED)
        return details

    async def approval_required(self, ctx: Context, tool: Tool, arguments: Input, approval: Approval) -> ToolError:
        """Return `approval.required`, with where the person decides."""
        decidable = await self.authorizer.can_be_approved()
        page = None
        if tool.approval_page is not None and decidable:
            call = self.open_call(ctx, arguments, approval.idempotency_key)
            page = await self.runner.map_errors(tool, tool.approval_page(call, arguments, approval))
        desk = await self.desk() if page is None and decidable else None
        return approval_required(tool, approval, page=page, desk=desk, decidable=decidable)

"""Handle one tool call, from raw arguments to the result: validate, authorize, run, shape."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import arguments_digest
from machines_mcp.permissions.approval_details import CallRequest
from machines_mcp.permissions.authorizer import Authorization, Authorizer
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.decision import Decision
from machines_mcp.permissions.policy import Rule
from machines_mcp.protocol import elicitation
from machines_mcp.protocol.approval_errors import limit_exceeded, raise_denied
from machines_mcp.protocol.approval_flow import ApprovalFlow
from machines_mcp.protocol.arguments import refuse_closed, take_approval_id, validate
from machines_mcp.protocol.audit_scope import audited
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.execution import ToolRun, ToolRunner
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.responses import STATUS, ResponseBuilder
from machines_mcp.protocol.tool import Call, Input, Tool
from machines_mcp.redaction.verbatim import collect_verbatim
from machines_mcp.storage.database import StoreUnavailable

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]
ToolAnswer = dict[str, Any] | types.InputRequiredResult
# Reads and writes that the policy allows need no approval. Every other call gets one, so that limits count it.
_PLAIN = (ActionClass.READ, ActionClass.WRITE)


class Dispatcher:
    """Runs tool calls. `desk` starts the desk and returns its address, or None if it can't run.

    `expect` receives, per request id, the values that the response may show verbatim.
    """

    def __init__(
        self,
        registry: Registry,
        authorizer: Authorizer,
        running: ToolRunner,
        shaping: ResponseBuilder,
        services: Any,
        *,
        digest_key: bytes,
        desk: Callable[[], Awaitable[str | None]],
        expect: Callable[[int | str, Iterable[str]], None] = lambda request_id, values: None,
    ) -> None:
        self._registry = registry
        self._authorizer = authorizer
        self._running = running
        self._shaping = shaping
        self._services = services
        self._digest_key = digest_key
        self._expect = expect
        self._asking = ApprovalFlow(authorizer, running, desk, self._tool_call, self.allow_verbatim)

    @property
    def users(self) -> Mapping[str, None]:
        """The users of successful calls, oldest first."""
        return self._running.users

    async def call(self, ctx: Context, params: types.CallToolRequestParams) -> ToolAnswer:
        """Handle `tools/call`. Every outcome becomes a result or an error from the catalogue."""
        tool_error: ToolError
        try:
            with audited(self._authorizer, None):
                tool = self._find(params.name)
            return await self._call(ctx, tool, params)
        except ToolError as found:
            tool_error = found
        except StoreUnavailable:
            tool_error = ToolError(Code.STATE_UNAVAILABLE)
        except Exception as error:
            # Log the class name only: the text of an exception can contain arguments.
            logger.error("a tool call failed: %s", type(error).__name__)
            tool_error = ToolError(Code.INTERNAL)
        payload = tool_error.payload()
        self.allow_verbatim(ctx, collect_verbatim(payload))
        return self._shaping.error(payload, params.name)

    async def read(self, ctx: Context, name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of a read tool without its next steps, for a resource or a completion.

        Raises:
            Refusal: As for a call; `policy.denied` unless the policy allows the read without approval.
        """
        tool = self._find(name)
        with audited(self._authorizer, CallRequest(tool.name, tool.action_classes[0], "", "")):
            arguments = self._validate(tool, raw)
        call_request = self._call_request(ctx, tool, arguments)
        with audited(self._authorizer, call_request):
            if not tool.read_only or self._authorizer.rule(call_request.action_class, tool.name) is not Rule.ALLOW:
                raise ToolError(Code.POLICY_DENIED)
            ran = await self._running.run(tool, self._tool_call(ctx, arguments, uuid.uuid4().hex), arguments)
        self._authorizer.record(call_request, "ok")
        self.allow_verbatim(ctx, ran.verbatim)
        return {key: value for key, value in ran.outcome.items() if key != "next_steps"} | self._shaping.stamp

    async def fulfil(
        self, approval_id: str, values: Mapping[str, Any], take: Callable[[], Awaitable[Decision]]
    ) -> Decision:
        """Run a waiting call with values from a person's form; `take` records their decision.

        The outcome is stored for the repeated call. The values are not stored.

        Raises:
            Refusal: The values are invalid (nothing is decided then), or the call failed.
        """
        approval = await self._authorizer.waiting(approval_id)
        if approval is None or approval.details.only != "form":
            return "gone"
        tool = self._find(approval.tool)
        # A pinned server takes the user from its settings, as it did when the approval was created.
        user = {} if self._registry.pinned_user is not None else {"user_id": approval.user_id}
        arguments = validate(tool, {**values, **user}, self._registry.pinned_user)
        decision = await take()
        if decision == "granted":
            call = self._tool_call(None, arguments, approval.idempotency_key)
            await self._running.execute(tool, call, arguments, approval)
        return decision

    def _find(self, name: str) -> Tool:
        tool = self._registry.tools.get(name)
        if tool is None:
            raise ToolError(Code.TOOL_UNKNOWN, next_steps=[STATUS])
        return tool

    def _validate(self, tool: Tool, raw: Mapping[str, Any]) -> Input:
        try:
            refuse_closed(raw, self._registry.closed_arguments(tool))
            arguments = validate(tool, raw, self._registry.pinned_user)
        except ToolError:
            if self._registry.is_usable(tool):
                raise
            # The policy denies this tool, so fixing the arguments would not help.
            raise self._denied(CallRequest(tool.name, tool.action_classes[0], "", "")) from None
        user_id = getattr(arguments, "user_id", None)
        if user_id is not None and not self._authorizer.policy.allows_user(user_id):
            raise ToolError(Code.NOT_FOUND)
        return arguments

    async def _call(self, ctx: Context, tool: Tool, params: types.CallToolRequestParams) -> ToolAnswer:
        raw = dict(params.arguments or {})
        with audited(self._authorizer, CallRequest(tool.name, tool.action_classes[0], "", "")):
            approval_id = take_approval_id(tool, raw, asks=self._registry.may_ask(tool))
            arguments = self._validate(tool, raw)
        call_request = self._call_request(ctx, tool, arguments)
        rule = self._authorizer.rule(call_request.action_class, tool.name)
        if rule is Rule.DENY:
            self._authorizer.record(call_request, Code.POLICY_DENIED.value)
            raise self._denied(call_request)
        if rule is Rule.ALLOW and call_request.action_class in _PLAIN:
            return await self._run_plain(ctx, tool, arguments, call_request)
        with audited(self._authorizer, call_request):
            authorization = await self._asking.authorize(ctx, tool, arguments, call_request, params, approval_id)
        return await self._finish(ctx, tool, arguments, call_request, authorization)

    async def _run_plain(self, ctx: Context, tool: Tool, arguments: Input, call_request: CallRequest) -> ToolAnswer:
        """Run a call that needs no approval. A write is in the audit before it is sent, and its outcome after."""
        if call_request.action_class is ActionClass.WRITE:
            with audited(self._authorizer, call_request):
                await self._admit(call_request)
        code = Code.INTERNAL.value
        try:
            ran = await self._running.run(tool, self._tool_call(ctx, arguments, uuid.uuid4().hex), arguments)
            code = "ok"
        except ToolError as tool_error:
            code = tool_error.code.value
            raise
        except StoreUnavailable:
            code = Code.STATE_UNAVAILABLE.value
            raise
        finally:
            self._authorizer.record(
                call_request, code, kind="outcome" if call_request.action_class is ActionClass.WRITE else "call"
            )
        return self._result(ctx, ran)

    async def _admit(self, call_request: CallRequest) -> None:
        try:
            await self._authorizer.admit(call_request)
        except LimitExceeded as bar:
            raise limit_exceeded(bar) from None

    async def _finish(
        self,
        ctx: Context,
        tool: Tool,
        arguments: Input,
        call_request: CallRequest,
        authorization: Authorization | types.InputRequiredResult,
    ) -> ToolAnswer:
        if isinstance(authorization, types.InputRequiredResult):
            return authorization
        approval = authorization.approval
        if authorization.verdict == "run" and approval is not None:
            ran = await self._running.execute(
                tool, self._tool_call(ctx, arguments, approval.idempotency_key), arguments, approval
            )
            return self._result(ctx, ran)
        # Calls that ran or showed a dialog already have an audit row.
        self._authorizer.record(call_request, authorization.verdict, approval_id=approval.id if approval else None)
        if authorization.verdict == "repeat" and approval is not None:
            outcome = json.loads(approval.outcome or "null")
            if approval.state != "done":
                return self._shaping.error(outcome, tool.name)
            output = tool.output_model.model_validate_json(approval.outcome or "")
            self.allow_verbatim(ctx, collect_verbatim(output))
            return self._shaping.result(outcome, output.summary())
        if authorization.verdict == "waiting" and approval is not None:
            raise await self._asking.approval_required(ctx, tool, arguments, approval)
        raise_denied(tool, authorization)

    def _result(self, ctx: Context, ran: ToolRun) -> ToolAnswer:
        self.allow_verbatim(ctx, ran.verbatim.union(ran.ephemeral.values()))
        return self._shaping.result(ran.outcome, ran.summary, ran.ephemeral)

    def allow_verbatim(self, ctx: Context, values: Iterable[str]) -> None:
        """Let the response to this request show these values verbatim."""
        if ctx.request_id is not None:
            self._expect(ctx.request_id, values)

    def _denied(self, call_request: CallRequest) -> ToolError:
        reason = self._authorizer.policy.reason(call_request.action_class, call_request.tool)
        message = f"The operator's policy does not allow this: {reason}. No tool can change that; tell the user."
        return ToolError(Code.POLICY_DENIED, message=message, details={"class": call_request.action_class.value})

    def _call_request(self, ctx: Context, tool: Tool, arguments: Input) -> CallRequest:
        action_class, user_id = tool.classify(arguments), getattr(arguments, "user_id", "")
        if action_class is ActionClass.READ and self._authorizer.rule(action_class, tool.name) is Rule.ALLOW:
            # An allowed read needs no approval, so no digest. Most calls are such reads.
            return CallRequest(tool.name, action_class, user_id, "")
        digest = arguments_digest(self._digest_key, arguments.model_dump(mode="json"))
        return CallRequest(tool.name, action_class, user_id, digest, elicitation.client_name(ctx))

    def _tool_call(self, ctx: Context | None, arguments: Input, key: str) -> Call[Any]:
        async def progress(fraction: float, message: str) -> None:
            if ctx is not None:
                await ctx.session.report_progress(fraction, 1.0, message)

        user_id = getattr(arguments, "user_id", "")
        return Call(user_id=user_id, idempotency_key=key, services=self._services, progress=progress)

"""Handle one tool call, from raw arguments to the result: validate, authorize, run, shape."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import mcp_types as types
from mcp.server.context import ServerRequestContext

from machines_mcp.permissions.action_class import PLAIN, ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.authorizer import Authorization, Authorizer
from machines_mcp.permissions.decision import Decision
from machines_mcp.permissions.policy import Rule
from machines_mcp.permissions.protective import CANCEL_APPROVAL, NOT_BEGUN
from machines_mcp.protocol.allowance import Allowance, allowance_of
from machines_mcp.protocol.approval_errors import as_tool_error, policy_denied, raise_denied
from machines_mcp.protocol.approval_flow import ApprovalFlow
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.execution import ToolRunner
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.repeatable_calls import RepeatableCalls
from machines_mcp.protocol.responses import STATUS, ResponseBuilder, ToolRun
from machines_mcp.protocol.tool import Tool
from machines_mcp.protocol.tool_call import CallReader, ToolCall, unvalidated_request
from machines_mcp.protocol.user_check import UserCheck
from machines_mcp.redaction.verbatim import collect_verbatim
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.freeze import Frozen

if TYPE_CHECKING:
    from machines_mcp.protocol.reconciliation import Reconciler

logger = logging.getLogger(__name__)

T = TypeVar("T")

Context = ServerRequestContext[Any, Any]
ToolAnswer = dict[str, Any] | types.InputRequiredResult


class Dispatcher:
    """Runs tool calls. `desk` starts the desk and returns the address of a page, or None if it can't run.

    `page_ended` waits, for a bounded time, until an approval's own page has stored its outcome.
    """

    def __init__(
        self,
        registry: Registry,
        authorizer: Authorizer,
        runner: ToolRunner,
        reconciler: Reconciler,
        responses: ResponseBuilder,
        *,
        digest_key: bytes,
        desk: Callable[[str], Awaitable[str | None]],
        page_ended: Callable[[str], Awaitable[None]],
    ) -> None:
        self._tools = registry.tools
        self._policy = registry.policy
        self._authorizer = authorizer
        self._runner = runner
        self._responses = responses
        self._repeats = RepeatableCalls(registry)
        self._reader = CallReader(registry, digest_key, self._repeats.restored)
        self._users = UserCheck(registry, runner.users)
        self.approvals = ApprovalFlow(authorizer, runner, reconciler, responses, desk, page_ended)

    @property
    def users(self) -> Mapping[str, None]:
        """The users of successful calls, oldest first."""
        return self._runner.users.recent

    async def call(self, ctx: Context, params: types.CallToolRequestParams) -> ToolAnswer:
        """Handle `tools/call`. Every outcome becomes a result or an error from the catalogue."""
        call: ToolCall | None = None
        allowance = allowance_of(ctx)
        self._responses.begin(allowance)
        try:
            call = self._read(self._tools.get(params.name), params.arguments or {}, ctx, params)
            if call.rule is Rule.DENY:
                self._authorizer.record(call.request, Code.POLICY_DENIED.value)
                raise policy_denied(self._policy, call.request)
            await self._recorded(call, self._users.require(call))
            await self._refuse_if_frozen(call)
            # Every other call gets an approval even if the policy allows it, so that limits count it.
            if await self._recorded(call, self.approvals.runs_at_once(call)):
                return self._responses.result(call, await self._run_plain(call))
            if call.rule is Rule.ALLOW and call.request.action_class in PLAIN:
                call = replace(call, rule=Rule.ASK)
            authorization = await self.approvals.authorize(call)
            if isinstance(authorization, types.InputRequiredResult):
                return authorization
            self._repeats.note(call, authorization)
            if authorization.verdict == "run" and authorization.approval is not None:
                ran = await self._runner.execute(call, authorization.approval)
                return self._responses.result(call, self._repeats.noted(ran, call, authorization.approval))
            return await self._answer(call, authorization)
        except (ToolError, StoreUnavailable, Frozen) as error:
            tool_error = as_tool_error(error)
        except Exception as error:
            # Log the class name only: the text of an exception can contain arguments.
            logger.error("a tool call failed: %s", type(error).__name__)
            tool_error = as_tool_error(error)
        return await self._error(allowance, tool_error.payload(), call)

    async def read(self, ctx: Context, name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of a read tool without its next steps, for a resource or a completion.

        Raises:
            ToolError: As for a call; `policy.denied` unless the policy allows the read without approval.
        """
        tool = self._tools.get(name)
        if tool is None:
            raise ToolError(Code.TOOL_UNKNOWN, next_steps=[STATUS])
        call = self._read(tool, raw, ctx)
        try:
            if not tool.read_only or call.rule is not Rule.ALLOW:
                raise ToolError(Code.POLICY_DENIED)
            await self._users.require(call)
            ran = self._responses.fitting(call, await self._runner.run(call, []))
        except Exception as error:
            self._authorizer.record(call.request, as_tool_error(error).code.value)
            raise
        self._authorizer.record(call.request, "ok")
        call.allowance.allow(ran.verbatim)
        return {key: value for key, value in ran.outcome.items() if key != "next_steps"} | self._responses.stamp

    async def fulfil(
        self, approval_id: str, values: Mapping[str, Any], take: Callable[[], Awaitable[Decision]]
    ) -> Decision:
        """Run a waiting call with values from a person's form; `take` records their decision.

        The outcome is stored for the repeated call. The values are not stored.

        Raises:
            ToolError: The values are invalid (nothing is decided then), or the call failed.
        """
        approval = await self._authorizer.waiting(approval_id)
        if approval is None or approval.details.only != "form":
            return "gone"
        tool = self._tools.get(approval.tool)
        if tool is None:
            raise ToolError(Code.TOOL_UNKNOWN, next_steps=[STATUS])
        call = self._reader.read_form(tool, approval, values)
        decision = await take()
        if decision == "granted":
            await self._runner.execute(call, approval)
        return decision

    async def open_page(self, approval_id: str) -> str | None:
        """Start the page that decides a waiting call and runs it, and return its address; None if no such call waits.

        Raises:
            ToolError: The page can't be shown.
        """
        approval = await self._authorizer.waiting(approval_id)
        tool = None if approval is None else self._tools.get(approval.tool)
        if approval is None or tool is None or approval.details.only != "page":
            return None
        # The row has the arguments of such a call.
        given = {"card_id": approval.card_id, "sink": approval.details.sink}
        return await self._runner.open_page(self._reader.read_form(tool, approval, given), approval)

    def _read(
        self,
        tool: Tool | None,
        raw: Mapping[str, Any],
        ctx: Context,
        params: types.CallToolRequestParams | None = None,
    ) -> ToolCall:
        """Read the call. One that can't be read is recorded here, because nothing below hears of it."""
        try:
            if tool is None:
                raise ToolError(Code.TOOL_UNKNOWN, next_steps=[STATUS])
            return self._reader.read(tool, raw, ctx, params)
        except Exception as error:
            self._authorizer.record(
                None if tool is None else unvalidated_request(tool), as_tool_error(error).code.value
            )
            raise

    async def _recorded(self, call: ToolCall, check: Awaitable[T]) -> T:
        """Run a check. If it refuses the call, that is recorded here, because nothing below hears of it."""
        try:
            return await check
        except Exception as error:
            self._authorizer.record(call.request, as_tool_error(error).code.value)
            raise

    async def _refuse_if_frozen(self, call: ToolCall) -> None:
        """Refuse a frozen call before anything is sent for it. A person's no counts, and what ran can be looked up."""
        # A reveal to sink `none` is a read, but it fetches the card's number.
        if call.tool.read_only or call.answer == "no":
            return
        await self._recorded(call, self._authorizer.refuse_if_frozen(call.request, call.approval_id))

    async def _run_plain(self, call: ToolCall) -> ToolRun:
        """Run a call that needs no approval, and record the outcome."""
        writes = call.request.action_class is ActionClass.WRITE
        code, sent = Code.INTERNAL.value, list[str]()
        try:
            ran = await self._runner.run(call, sent)
            code = "ok"
            if call.tool.name == CANCEL_APPROVAL:
                # Nobody repeats the withdrawn call, so what was kept for it would stay until it expires.
                self._repeats.forget(getattr(call.arguments, "approval_id", ""))
        except Exception as error:
            code = as_tool_error(error).code.value
            raise
        finally:
            # A cancelled call is recorded too. A lock that sent nothing must not count as one.
            verdict = NOT_BEGUN if call.request.locks and not sent else None
            self._authorizer.record(call.request, code, kind="outcome" if writes else "call", verdict=verdict)
        return ran

    async def _answer(self, call: ToolCall, authorization: Authorization) -> ToolAnswer:
        """Answer a call that does not run: repeat its outcome, or say what is missing."""
        approval = authorization.approval
        # Calls that ran or showed a dialog already have an audit row.
        self._authorizer.record(call.request, authorization.verdict, approval_id=approval.id if approval else None)
        if authorization.verdict == "repeat" and approval is not None:
            return await self._repeated(call, approval)
        if authorization.verdict == "waiting" and approval is not None:
            raise await self.approvals.required(call, approval)
        if authorization.verdict == "mismatch":
            raise self._repeats.mismatch(call, approval)
        raise_denied(call.tool, authorization)

    async def _repeated(self, call: ToolCall, approval: Approval) -> ToolAnswer:
        """Return the stored outcome of an approval."""
        outcome = json.loads(approval.outcome or "null")
        if approval.state != "done":
            return await self._error(call.allowance, outcome, call)
        output = call.tool.output_model.model_validate_json(approval.outcome or "")
        ran = ToolRun(outcome, output.summary(), {}, frozenset(collect_verbatim(output)))
        return self._responses.result(call, ran)

    async def _error(self, allowance: Allowance, payload: dict[str, Any], call: ToolCall | None) -> ToolAnswer:
        """Return an error result whose next steps can be called."""
        completed = self._repeats.completed(payload, call)
        return self._responses.error(allowance, await self._users.reachable(completed, call))

"""One call of a tool, from raw arguments to the line that answers it: validate, gate, run, shape."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext

from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.approval import arguments_digest
from machines_mcp.permissions.approval_details import Demand
from machines_mcp.permissions.authorizer import Gate, Passage
from machines_mcp.permissions.channels import Decision
from machines_mcp.permissions.cooldown import Barred
from machines_mcp.permissions.policy import Rule
from machines_mcp.protocol import elicitation
from machines_mcp.protocol.approval_errors import barred, refuse
from machines_mcp.protocol.approval_flow import Asking
from machines_mcp.protocol.arguments import refuse_closed, take_approval_id, validate
from machines_mcp.protocol.audit_scope import noted
from machines_mcp.protocol.errors import Code, Refusal
from machines_mcp.protocol.execution import Ran, Running
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.responses import STATUS, Shaping
from machines_mcp.protocol.tool import Call, Input, Tool
from machines_mcp.redaction.verbatim import collect
from machines_mcp.storage.database import StoreUnavailable

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]
ToolAnswer = dict[str, Any] | types.InputRequiredResult
# What nobody is asked about makes no intent; of the rest each call has one, so that limits count it.
_PLAIN = (Effect.READ, Effect.WRITE)


class Dispatcher:
    """Runs tool calls. `desk` starts the desk and returns its address; None where there can be none.

    `expect` is told, by the id of the request, what the answer may show to the letter.
    """

    def __init__(
        self,
        registry: Registry,
        gate: Gate,
        running: Running,
        shaping: Shaping,
        services: Any,
        *,
        digest_key: bytes,
        desk: Callable[[], Awaitable[str | None]],
        expect: Callable[[int | str, Iterable[str]], None] = lambda request_id, values: None,
    ) -> None:
        self._registry = registry
        self._gate = gate
        self._running = running
        self._shaping = shaping
        self._services = services
        self._digest_key = digest_key
        self._expect = expect
        self._asking = Asking(gate, running, desk, self._open_call, self.let_show)

    @property
    def users(self) -> Mapping[str, None]:
        """The users that calls went well for, the oldest first."""
        return self._running.users

    async def call(self, ctx: Context, params: types.CallToolRequestParams) -> ToolAnswer:
        """Answer `tools/call`. Whatever happens becomes a result or an error of the catalogue."""
        refusal: Refusal
        try:
            with noted(self._gate, None):
                tool = self._find(params.name)
            return await self._pass(ctx, tool, params)
        except Refusal as found:
            refusal = found
        except StoreUnavailable:
            refusal = Refusal(Code.STATE_UNAVAILABLE)
        except Exception as error:
            # The class name only: the text of an exception can hold what it was working on.
            logger.error("a tool call failed: %s", type(error).__name__)
            refusal = Refusal(Code.INTERNAL)
        payload = refusal.payload()
        self.let_show(ctx, collect(payload))
        return self._shaping.error(payload, params.name)

    async def read(self, ctx: Context, name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
        """What a read tool answers, for a resource or a completion: without its next steps.

        Raises:
            Refusal: As for a call; `policy.denied` for anything that is not plainly allowed.
        """
        tool = self._find(name)
        with noted(self._gate, Demand(tool.name, tool.effects[0], "", "")):
            arguments = self._validate(tool, raw)
        demand = self._demand(ctx, tool, arguments)
        with noted(self._gate, demand):
            if not tool.read_only or self._gate.rule(demand.effect, tool.name) is not Rule.ALLOW:
                raise Refusal(Code.POLICY_DENIED)
            ran = await self._running.run(tool, self._open_call(ctx, arguments, uuid.uuid4().hex), arguments)
        self._gate.note(demand, "ok")
        self.let_show(ctx, ran.opaque)
        return {key: value for key, value in ran.outcome.items() if key != "next_steps"} | self._shaping.stamp

    async def fulfil(
        self, intent_id: str, values: Mapping[str, Any], take: Callable[[], Awaitable[Decision]]
    ) -> Decision:
        """Run a waiting call with values that a person filled in; `take` is their decision.

        The outcome is kept for the repeated call. The values pass through and stay nowhere.

        Raises:
            Refusal: The values are at fault (nothing is decided then), or the call failed.
        """
        intent = await self._gate.waiting(intent_id)
        if intent is None or intent.stakes.only != "form":
            return "gone"
        tool = self._find(intent.tool)
        # A pinned server takes the user from its settings, as it did when the intent was made.
        user = {} if self._registry.pinned_user is not None else {"user_id": intent.user_id}
        arguments = validate(tool, {**values, **user}, self._registry.pinned_user)
        decision = await take()
        if decision == "granted":
            call = self._open_call(None, arguments, intent.idempotency_key)
            await self._running.execute(tool, call, arguments, intent)
        return decision

    def _find(self, name: str) -> Tool:
        tool = self._registry.tools.get(name)
        if tool is None:
            raise Refusal(Code.TOOL_UNKNOWN, next_steps=[STATUS])
        return tool

    def _validate(self, tool: Tool, raw: Mapping[str, Any]) -> Input:
        try:
            refuse_closed(raw, self._registry.closed(tool))
            arguments = validate(tool, raw, self._registry.pinned_user)
        except Refusal:
            if self._registry.usable(tool):
                raise
            # Whoever mended them would be refused all the same.
            raise self._denied(Demand(tool.name, tool.effects[0], "", "")) from None
        user_id = getattr(arguments, "user_id", None)
        if user_id is not None and not self._gate.policy.allows_user(user_id):
            raise Refusal(Code.NOT_FOUND)
        return arguments

    async def _pass(self, ctx: Context, tool: Tool, params: types.CallToolRequestParams) -> ToolAnswer:
        raw = dict(params.arguments or {})
        with noted(self._gate, Demand(tool.name, tool.effects[0], "", "")):
            approval_id = take_approval_id(tool, raw, asks=self._registry.asks(tool))
            arguments = self._validate(tool, raw)
        demand = self._demand(ctx, tool, arguments)
        rule = self._gate.rule(demand.effect, tool.name)
        if rule is Rule.DENY:
            self._gate.note(demand, Code.POLICY_DENIED.value)
            raise self._denied(demand)
        if rule is Rule.ALLOW and demand.effect in _PLAIN:
            return await self._run_plain(ctx, tool, arguments, demand)
        with noted(self._gate, demand):
            passage = await self._asking.passage(ctx, tool, arguments, demand, params, approval_id)
        return await self._follow(ctx, tool, arguments, demand, passage)

    async def _run_plain(self, ctx: Context, tool: Tool, arguments: Input, demand: Demand) -> ToolAnswer:
        """Run what nobody is asked about. A write is in the audit before it is done, and what became of it after."""
        if demand.effect is Effect.WRITE:
            with noted(self._gate, demand):
                await self._admit(demand)
        code = Code.INTERNAL.value
        try:
            ran = await self._running.run(tool, self._open_call(ctx, arguments, uuid.uuid4().hex), arguments)
            code = "ok"
        except Refusal as refusal:
            code = refusal.code.value
            raise
        except StoreUnavailable:
            code = Code.STATE_UNAVAILABLE.value
            raise
        finally:
            self._gate.note(demand, code, kind="outcome" if demand.effect is Effect.WRITE else "call")
        return self._shown(ctx, ran)

    async def _admit(self, demand: Demand) -> None:
        try:
            await self._gate.admit(demand)
        except Barred as bar:
            raise barred(bar) from None

    async def _follow(
        self,
        ctx: Context,
        tool: Tool,
        arguments: Input,
        demand: Demand,
        passage: Passage | types.InputRequiredResult,
    ) -> ToolAnswer:
        if isinstance(passage, types.InputRequiredResult):
            return passage
        intent = passage.intent
        if passage.verdict == "run" and intent is not None:
            ran = await self._running.execute(
                tool, self._open_call(ctx, arguments, intent.idempotency_key), arguments, intent
            )
            return self._shown(ctx, ran)
        # What runs or was asked is in the audit already, with the row that says so.
        self._gate.note(demand, passage.verdict, intent_id=intent.id if intent else None)
        if passage.verdict == "repeat" and intent is not None:
            outcome = json.loads(intent.outcome or "null")
            if intent.state != "done":
                return self._shaping.error(outcome, tool.name)
            output = tool.output_model.model_validate_json(intent.outcome or "")
            self.let_show(ctx, collect(output))
            return self._shaping.answer(outcome, output.says())
        if passage.verdict == "waiting" and intent is not None:
            raise await self._asking.required(ctx, tool, arguments, intent)
        refuse(tool, passage)

    def _shown(self, ctx: Context, ran: Ran) -> ToolAnswer:
        self.let_show(ctx, ran.opaque.union(ran.once.values()))
        return self._shaping.answer(ran.outcome, ran.says, ran.once)

    def let_show(self, ctx: Context, values: Iterable[str]) -> None:
        """Let the answer to this request show these values to the letter."""
        if ctx.request_id is not None:
            self._expect(ctx.request_id, values)

    def _denied(self, demand: Demand) -> Refusal:
        reason = self._gate.policy.reason(demand.effect, demand.tool)
        message = f"The operator's policy does not allow this: {reason}. No call changes that; tell the user."
        return Refusal(Code.POLICY_DENIED, message=message, details={"class": demand.effect.value})

    def _demand(self, ctx: Context, tool: Tool, arguments: Input) -> Demand:
        effect, user_id = tool.classify(arguments), getattr(arguments, "user_id", "")
        if effect is Effect.READ and self._gate.rule(effect, tool.name) is Rule.ALLOW:
            # Nothing waits that could be bound to it, and most calls are such.
            return Demand(tool.name, effect, user_id, "")
        digest = arguments_digest(self._digest_key, arguments.model_dump(mode="json"))
        return Demand(tool.name, effect, user_id, digest, elicitation.asked_by(ctx))

    def _open_call(self, ctx: Context | None, arguments: Input, key: str) -> Call[Any]:
        async def progress(fraction: float, message: str) -> None:
            if ctx is not None:
                await ctx.session.report_progress(fraction, 1.0, message)

        user_id = getattr(arguments, "user_id", "")
        return Call(user_id=user_id, idempotency_key=key, services=self._services, progress=progress)

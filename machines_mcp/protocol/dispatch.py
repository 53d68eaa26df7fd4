"""One call of a tool, from raw arguments to the line that answers it: validate, gate, run, shape."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from pydantic_core import to_json

from machines_mcp.guard.gate import Demand, Gate, Passage
from machines_mcp.guard.intents import EXECUTION_SECONDS, Intent, arguments_digest
from machines_mcp.guard.policy import Rule
from machines_mcp.guard.store import StoreUnavailable
from machines_mcp.protocol import questions
from machines_mcp.protocol.arguments import take_approval_id, validate
from machines_mcp.protocol.refusal import NOT_BEGUN, Code, Refusal, Step
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.tool import Call, Input, Output, Tool

logger = logging.getLogger(__name__)

MOST_USERS = 50

_STATUS = Step("status", "See how things stand and what can be done.")
_ANEW = "The same call without approval_id, to ask anew."

Context = ServerRequestContext[Any, Any]
ToolAnswer = dict[str, Any] | types.InputRequiredResult


class Dispatcher:
    """Runs tool calls. `stamp` is what every answer says of where it happened; `explain` knows upstream's errors."""

    def __init__(
        self,
        registry: Registry,
        gate: Gate,
        services: Any,
        *,
        digest_key: bytes,
        stamp: dict[str, Any],
        explain: Callable[[Exception, Tool], Refusal | None],
    ) -> None:
        self._registry = registry
        self._gate = gate
        self._services = services
        self._digest_key = digest_key
        self._stamp = stamp
        self._explain = explain
        self.users: dict[str, None] = {}
        """The users that calls went well for, the oldest first; at most 50."""

    async def call(self, ctx: Context, params: types.CallToolRequestParams) -> ToolAnswer:
        """Answer `tools/call`. Whatever happens becomes a result or an error of the catalogue."""
        try:
            tool = self._find(params.name)
            return await self._pass(ctx, tool, params)
        except Refusal as refusal:
            return self._error(refusal.payload(), params.name)
        except StoreUnavailable:
            return self._error(Refusal(Code.STATE_UNAVAILABLE).payload(), params.name)
        except Exception as error:
            # The class name only: the text of an exception can hold what it was working on.
            logger.error("a tool call failed: %s", type(error).__name__)
            return self._error(Refusal(Code.INTERNAL).payload(), params.name)

    async def read(self, ctx: Context, name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
        """What a read tool answers, for a resource or a completion: without its next steps.

        Raises:
            Refusal: As for a call; `policy.denied` for anything that is not plainly allowed.
        """
        tool = self._find(name)
        arguments = validate(tool, raw, self._registry.pinned_user)
        if not tool.read_only or self._gate.rule(tool.classify(arguments), tool.name) is not Rule.ALLOW:
            raise Refusal(Code.POLICY_DENIED)
        body = await self._run(tool, self._open_call(ctx, arguments, uuid.uuid4().hex), arguments)
        return {key: value for key, value in body.items() if key != "next_steps"} | self._stamp

    def _find(self, name: str) -> Tool:
        tool = self._registry.tools.get(name)
        if tool is None:
            raise Refusal(Code.TOOL_UNKNOWN, next_steps=[_STATUS])
        return tool

    async def _pass(self, ctx: Context, tool: Tool, params: types.CallToolRequestParams) -> ToolAnswer:
        raw = dict(params.arguments or {})
        approval_id = take_approval_id(tool, raw, asks=self._registry.asks(tool))
        arguments = validate(tool, raw, self._registry.pinned_user)
        effect = tool.classify(arguments)
        rule = self._gate.rule(effect, tool.name)
        if rule is Rule.DENY:
            message = f"The operator's policy does not allow this: {self._gate.policy.reason(effect, tool.name)}."
            raise Refusal(Code.POLICY_DENIED, message=message, details={"class": effect.value})
        call = self._open_call(ctx, arguments, uuid.uuid4().hex)
        if rule is Rule.ALLOW:
            return self._answer(await self._run(tool, call, arguments))
        digest = arguments_digest(self._digest_key, arguments.model_dump(mode="json"))
        demand = Demand(tool.name, effect, call.user_id, digest)
        passage = await self._ask(ctx, tool, call, arguments, demand, params, approval_id)
        return await self._follow(ctx, tool, arguments, passage)

    async def _ask(
        self,
        ctx: Context,
        tool: Tool,
        call: Call[Any],
        arguments: Input,
        demand: Demand,
        params: types.CallToolRequestParams,
        approval_id: str | None,
    ) -> Passage | types.InputRequiredResult:
        if params.request_state is not None:
            passage = await self._gate.resume(demand, params.request_state)
            if passage.verdict != "waiting" or passage.intent is None:
                return passage
            answer = questions.read_answer(params)
        elif approval_id is not None:
            return await self._gate.resume(demand, approval_id)
        else:
            question = await self._explained(tool, tool.question(call, arguments)) if tool.question else ""
            passage = await self._gate.ask(demand, question)
            if passage.verdict != "waiting" or passage.intent is None or not questions.can_ask(ctx):
                return passage
            if questions.asks_by_result(ctx):
                return questions.question_result(passage.intent.question, passage.intent.id)
            answer = await questions.ask_now(ctx, passage.intent.question)
        if answer == "nothing":
            return passage
        return await self._gate.decide(passage.intent, yes=answer == "yes", by="dialog")

    async def _follow(
        self, ctx: Context, tool: Tool, arguments: Input, passage: Passage | types.InputRequiredResult
    ) -> ToolAnswer:
        if isinstance(passage, types.InputRequiredResult):
            return passage
        if passage.verdict == "run" and passage.intent is not None:
            return await self._execute(ctx, tool, arguments, passage.intent)
        if passage.verdict == "repeat" and passage.intent is not None:
            outcome = json.loads(passage.intent.outcome or "null")
            return self._answer(outcome) if passage.intent.state == "done" else self._error(outcome, tool.name)
        _refuse(tool, passage)

    async def _execute(self, ctx: Context, tool: Tool, arguments: Input, intent: Intent) -> ToolAnswer:
        """Run what a person granted. Shielded: once it has begun, a cancelled call must not leave it half known."""
        call = self._open_call(ctx, arguments, f"machines-{intent.id}")
        with anyio.CancelScope(shield=True):
            try:
                with anyio.fail_after(EXECUTION_SECONDS):
                    outcome = await self._run(tool, call, arguments)
            except Refusal as refusal:
                if refusal.code in NOT_BEGUN:
                    raise await self._given_back(intent, refusal) from None
                await self._keep(intent, refusal.payload(), ok=False)
                raise
            except Exception as error:
                # The row stays `executing`: nobody can say any more whether it happened.
                self._gate.abandon(intent)
                logger.error("a granted call ended unforeseen: %s", type(error).__name__)
                raise Refusal(Code.OUTCOME_UNKNOWN, next_steps=[_STATUS]) from None
            await self._keep(intent, outcome, ok=True)
        return self._answer(outcome)

    async def _given_back(self, intent: Intent, refusal: Refusal) -> Refusal:
        try:
            await self._gate.give_back(intent)
        except StoreUnavailable:
            self._gate.abandon(intent)
            logger.error("a grant that was not used could not be given back")
            return refusal
        why = "The same call again in a moment; within 5 minutes of the approval nobody is asked again."
        return Refusal(
            refusal.code,
            message=refusal.message,
            details=refusal.details | {"approval_id": intent.id},
            next_steps=[Step(intent.tool, why, {"approval_id": intent.id}), *refusal.next_steps],
        )

    async def _keep(self, intent: Intent, outcome: dict[str, Any], *, ok: bool) -> None:
        try:
            await self._gate.finish(intent, json.dumps(outcome), ok=ok)
        except StoreUnavailable:
            # What happened, happened, and is told; a repeated call will find the row still `executing`.
            self._gate.abandon(intent)
            logger.error("the outcome of a granted call could not be stored")

    async def _run(self, tool: Tool, call: Call[Any], arguments: Input) -> dict[str, Any]:
        output: Output = await self._explained(tool, tool.run(call, arguments))
        if call.user_id:
            self.users[call.user_id] = None
            if len(self.users) > MOST_USERS:
                del self.users[next(iter(self.users))]
        return output.model_dump(mode="json", exclude_none=True)

    async def _explained(self, tool: Tool, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except (Refusal, StoreUnavailable):
            raise
        except Exception as error:
            refusal = self._explain(error, tool)
            if refusal is None:
                raise
        raise refusal

    def _open_call(self, ctx: Context, arguments: Input, key: str) -> Call[Any]:
        async def progress(fraction: float, message: str) -> None:
            await ctx.session.report_progress(fraction, 1.0, message)

        user_id = getattr(arguments, "user_id", "")
        return Call(user_id=user_id, idempotency_key=key, services=self._services, progress=progress)

    def _answer(self, outcome: dict[str, Any]) -> dict[str, Any]:
        body = self._stamped(outcome)
        return {"resultType": "complete", "content": [_text(body)], "structuredContent": body}

    def _error(self, payload: dict[str, Any], tool: str) -> dict[str, Any]:
        if not payload["next_steps"]:
            # Where nothing better is known: mend or repeat the call if that can help, else look around.
            again = payload["retryable"] and tool in self._registry.usable_names
            step = Step(tool, "The same call again, as the message says.") if again else _STATUS
            payload = payload | {"next_steps": [step.payload()]}
        return {"resultType": "complete", "content": [_text(self._stamped(payload))], "isError": True}

    def _stamped(self, body: dict[str, Any]) -> dict[str, Any]:
        # A step to a tool that settings or policy leave out would be a wasted call.
        usable = self._registry.usable_names
        steps = [step for step in body["next_steps"] if step["tool"] in usable]
        return body | self._stamp | {"next_steps": steps}


def _text(body: dict[str, Any]) -> dict[str, str]:
    return {"type": "text", "text": to_json(body).decode()}


def _refuse(tool: Tool, passage: Passage) -> NoReturn:
    """Say what a person's decision, or its absence, means for the call. Its arguments are not repeated here."""
    match passage.verdict, passage.intent:
        case "waiting", Intent() as intent:
            raise Refusal(
                Code.APPROVAL_REQUIRED,
                details={"approval_id": intent.id, "where": "in a terminal on this machine: machines-mcp approve"},
                next_steps=[Step(tool.name, "The same call, after the person approved.", {"approval_id": intent.id})],
            )
        case "refused", _:
            raise Refusal(Code.APPROVAL_REFUSED, next_steps=[_STATUS])
        case "expired", _:
            raise Refusal(Code.APPROVAL_EXPIRED, next_steps=[Step(tool.name, _ANEW)])
        case "running", _:
            raise Refusal(Code.OUTCOME_UNKNOWN, next_steps=[_STATUS])
        case _:
            raise Refusal(Code.APPROVAL_MISMATCH, next_steps=[Step(tool.name, _ANEW)])

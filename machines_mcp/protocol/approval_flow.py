"""Asking a person before a call runs: in the client's dialog, by an id to come back with, or on a page of its own."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext

from machines_mcp.permissions.approval import Intent
from machines_mcp.permissions.approval_details import Demand, Stakes
from machines_mcp.permissions.authorizer import Gate, Passage
from machines_mcp.protocol import elicitation
from machines_mcp.protocol.approval_errors import required
from machines_mcp.protocol.errors import Code, Refusal
from machines_mcp.protocol.execution import Running
from machines_mcp.protocol.tool import Call, Input, Tool

Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Asking:
    """`desk` starts the desk and returns its address; None where there can be none.

    `open_call` makes what a tool's functions get; `let_show` names what the answer to a request may show to the letter.
    """

    gate: Gate
    running: Running
    desk: Callable[[], Awaitable[str | None]]
    open_call: Callable[[Context | None, Input, str], Call[Any]]
    let_show: Callable[[Context, Iterable[str]], None]

    async def passage(
        self,
        ctx: Context,
        tool: Tool,
        arguments: Input,
        demand: Demand,
        params: types.CallToolRequestParams,
        approval_id: str | None,
    ) -> Passage | types.InputRequiredResult:
        """Whether the call may run now, was decided before, or waits; or the question, for the client to ask."""
        if params.request_state is not None:
            passage = await self.gate.resume(demand, params.request_state)
            if passage.verdict != "waiting" or passage.intent is None or not await self.gate.by_dialog(passage.intent):
                return passage
            answer = elicitation.read_answer(params)
        elif approval_id is not None:
            return await self.gate.resume(demand, approval_id)
        else:
            passage = await self.gate.ask(demand, await self._stakes(ctx, tool, arguments))
            if passage.verdict != "waiting" or passage.intent is None or not elicitation.can_ask(ctx):
                return passage
            if not await self.gate.by_dialog(passage.intent):
                return passage
            if passage.intent.stakes.destination is not None:
                # It names where money goes, and the person must read that in full.
                self.let_show(ctx, [passage.intent.dialog])
            if elicitation.asks_by_result(ctx):
                return elicitation.question_result(passage.intent.dialog, passage.intent.id)
            answer = await elicitation.ask_now(ctx, passage.intent.dialog)
        if answer == "nothing":
            return passage
        return await self.gate.decide(passage.intent, yes=answer == "yes")

    async def _stakes(self, ctx: Context, tool: Tool, arguments: Input) -> Stakes:
        if tool.stakes is None:
            # A write that the policy asks about: there is nothing to count and no more to say of it.
            return Stakes(question=f"Allow this call: {tool.title}?")
        call = self.open_call(ctx, arguments, uuid.uuid4().hex)
        stakes: Stakes = await self.running.explained(tool, tool.stakes(call, arguments))
        stakes = stakes.masked()
        if self.running.shows(stakes.as_json()):
            raise Refusal(Code.EGRESS_BLOCKED)
        return stakes

    async def required(self, ctx: Context, tool: Tool, arguments: Input, intent: Intent) -> Refusal:
        """`approval.required`, with where the person decides."""
        decidable = await self.gate.decidable()
        page = None
        if tool.present is not None and decidable:
            call = self.open_call(ctx, arguments, intent.idempotency_key)
            page = await self.running.explained(tool, tool.present(call, arguments, intent))
        desk = await self.desk() if page is None and decidable else None
        return required(tool, intent, page=page, desk=desk, decidable=decidable)

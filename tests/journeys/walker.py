"""An automaton that sees nothing but the tools' schemas, what a user would know, and the answers it gets.

It follows the first of each answer's `next_steps`. It waits where an answer asks it to, and stops where one leads
nowhere. A call that it has made before, with nothing done and no wait since, is a wasted one.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types as types
from mcp import Client

from tests.support.results import object_text
from tests.support.waiting import PATIENCE

Answer = dict[str, Any]
Wait = Callable[[Answer], Awaitable[None]]

MOST_CALLS = 20
_WAITS = ("retry_after_seconds", "poll_after_seconds", "approval_id")


class Wasted(AssertionError):
    """A call that could not bring anything new."""


async def nobody(answer: Answer) -> None:
    """Nothing happens while it waits."""


@dataclass
class Walker:
    """`data` is what the user knows, by the names of arguments; `told` is run with each answer and may add to it.

    `meanwhile` is run where an answer asks to wait: what the world does then.
    """

    client: Client
    data: dict[str, Any]
    meanwhile: Wait = nobody
    told: Callable[[Answer, dict[str, Any]], None] = lambda answer, data: None
    calls: list[str] = field(default_factory=list)
    waits: int = 0
    _arguments: dict[str, Any] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _schemas: dict[str, dict[str, Any]] = field(default_factory=dict)
    _changes: set[str] = field(default_factory=set)

    async def walk(self, tool: str, goal: Mapping[str, Any], **arguments: Any) -> Answer:
        """The answer that reaches the goal (has all of its values), or leads nowhere."""
        tools = (await self.client.list_tools()).tools
        self._schemas = {found.name: found.input_schema["properties"] for found in tools}
        self._changes = {found.name for found in tools if not (found.annotations and found.annotations.read_only_hint)}
        step: dict[str, Any] = {"tool": tool, "arguments": arguments}
        while len(self.calls) < MOST_CALLS:
            answer = await self._take(step)
            if goal.items() <= answer.items() or not answer["next_steps"]:
                return answer
            self.told(answer, self.data)
            step = answer["next_steps"][0]
            if any(name in answer for name in _WAITS):
                self.waits += 1
                self._seen.clear()
                await self.meanwhile(answer)
        raise Wasted(f"no end after {self.calls}")

    async def _take(self, step: Mapping[str, Any]) -> Answer:
        tool = step["tool"]
        same = self._arguments if self.calls and self.calls[-1] == tool else {}
        kept = {name: value for name, value in same.items() if name not in ("approval_id", *self.data)}
        filled = {name: self.data[name] for name in self._schemas.get(tool, {}) if name in self.data}
        arguments = kept | filled | dict(step["arguments"])
        call = json.dumps([tool, arguments], sort_keys=True)
        if call in self._seen:
            raise Wasted(f"{tool} once more, after {self.calls}")
        self._seen.add(call)
        self.calls.append(tool)
        self._arguments = arguments
        with anyio.fail_after(PATIENCE):
            found = await self.client.call_tool(tool, arguments)
        if tool in self._changes and not found.is_error:
            # What was asked before may be answered otherwise now; only this one is not to be done again.
            self._seen = {call}
        return _body(found)


def _body(found: types.CallToolResult) -> Answer:
    answer = json.loads(object_text(found))
    assert isinstance(answer, dict)
    assert found.is_error or answer == found.structured_content
    return answer

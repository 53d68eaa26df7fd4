"""An automaton that knows only the tools' schemas, the user's data and the responses.

It follows the first of each response's `next_steps`, waits if a response says so, and stops if there is none. Repeating
a call without a change or a wait in between is a wasted call.
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

MAX_CALLS = 20
_WAITS = ("retry_after_seconds", "poll_after_seconds", "approval_id")


class WastedCall(AssertionError):
    """A call that could not make progress."""


async def no_event(answer: Answer) -> None:
    """Let nothing happen during a wait."""


@dataclass
class Walker:
    """`data` is the user's knowledge by argument name; `told` runs for each response and may extend it.

    `meanwhile` runs when a response says to wait, and simulates what happens then.
    """

    client: Client
    data: dict[str, Any]
    meanwhile: Wait = no_event
    told: Callable[[Answer, dict[str, Any]], None] = lambda answer, data: None
    calls: list[str] = field(default_factory=list)
    waits: int = 0
    _arguments: dict[str, Any] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _schemas: dict[str, dict[str, Any]] = field(default_factory=dict)
    _changes: set[str] = field(default_factory=set)

    async def walk(self, tool: str, goal: Mapping[str, Any], **arguments: Any) -> Answer:
        """Return the response that has all values of the goal or no next step."""
        tools = (await self.client.list_tools()).tools
        self._schemas = {found.name: found.input_schema["properties"] for found in tools}
        self._changes = {found.name for found in tools if not (found.annotations and found.annotations.read_only_hint)}
        step: dict[str, Any] = {"tool": tool, "arguments": arguments}
        while len(self.calls) < MAX_CALLS:
            answer = await self._take(step)
            self.told(answer, self.data)
            # Without a step, a call with wrong arguments is made again once the user has corrected them.
            again = answer.get("code") == "input.invalid" and self._knows_better()
            steps = answer["next_steps"] or ([{"tool": step["tool"], "arguments": {}}] if again else [])
            if goal.items() <= answer.items() or not steps:
                return answer
            step = steps[0]
            if any(name in answer for name in _WAITS):
                self.waits += 1
                self._seen.clear()
                await self.meanwhile(answer)
        raise WastedCall(f"no end after {self.calls}")

    def _knows_better(self) -> bool:
        return any(self.data.get(name, value) != value for name, value in self._arguments.items())

    async def _take(self, step: Mapping[str, Any]) -> Answer:
        tool = step["tool"]
        same = self._arguments if self.calls and self.calls[-1] == tool else {}
        kept = {name: value for name, value in same.items() if name not in ("approval_id", *self.data)}
        filled = {name: self.data[name] for name in self._schemas.get(tool, {}) if name in self.data}
        arguments = kept | filled | dict(step["arguments"])
        if "approval_id" in arguments and "wait_seconds" in arguments:
            arguments["wait_seconds"] = 0  # `meanwhile` has decided, or nobody will.
        call = json.dumps([tool, arguments], sort_keys=True)
        if call in self._seen:
            raise WastedCall(f"{tool} once more, after {self.calls}")
        self._seen.add(call)
        self.calls.append(tool)
        self._arguments = arguments
        with anyio.fail_after(PATIENCE):
            found = await self.client.call_tool(tool, arguments)
        if tool in self._changes and not found.is_error:
            # After a change, earlier calls may give other responses, so only this one must not be repeated.
            self._seen = {call}
        return _body(found)


def _body(found: types.CallToolResult) -> Answer:
    answer = json.loads(object_text(found))
    assert isinstance(answer, dict)
    assert found.is_error or answer == found.structured_content
    return answer

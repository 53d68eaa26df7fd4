"""The answer of a tool call, as the object that the SDK turns into a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from machines_mcp.protocol.errors import NextStep
from machines_mcp.protocol.registry import Registry

STATUS = NextStep("status", "See how things stand and what can be done.")
_ABSENT = "What helps is {}, which this server does not offer (its toolsets or policy leave it out); tell the user."


class ResponseBuilder:
    """`stamp` is what every answer says of where it happened."""

    def __init__(self, registry: Registry, stamp: Mapping[str, Any]) -> None:
        self._registry = registry
        self.stamp = dict(stamp)

    def result(self, outcome: Mapping[str, Any], says: str, once: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A good result. `once` stands in this one answer beside what the outcome holds.

        The object is the first text as well: there are clients that read nothing else. The sentence is for people.
        """
        body = self._stamped(dict(outcome) | dict(once or {}))
        content = [_object(body), _text(says)]
        return {"resultType": "complete", "content": content, "structuredContent": body}

    def error(self, payload: dict[str, Any], tool: str) -> dict[str, Any]:
        """An error of the catalogue. One without next steps is an end: no call helps, and the user is to be told."""
        steps, usable = payload["next_steps"], self._registry.usable_names
        if steps and not any(step["tool"] in usable for step in steps):
            payload = payload | {"message": f"{payload['message']} {_ABSENT.format(steps[0]['tool'])}"}
        if not steps and payload["retryable"] and tool in usable:
            step = NextStep(tool, _again(payload.get("retry_after_seconds")))
            payload = payload | {"next_steps": [step.payload()]}
        return {"resultType": "complete", "content": [_object(self._stamped(payload))], "isError": True}

    def _stamped(self, body: dict[str, Any]) -> dict[str, Any]:
        # A step to a tool that settings or policy leave out would be a wasted call.
        usable = self._registry.usable_names
        steps = [step for step in body["next_steps"] if step["tool"] in usable]
        return body | self.stamp | {"next_steps": steps}


def _again(seconds: int | None) -> str:
    if seconds is None:
        return "The same call again, as the message says."
    return f"The same call, in {seconds} seconds or later."


def _object(body: dict[str, Any]) -> dict[str, str]:
    return _text(to_json(body).decode())


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}

"""Build `tools/call` results as the objects that the SDK serializes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from machines_mcp.protocol.errors import NextStep
from machines_mcp.protocol.registry import Registry

STATUS = NextStep("status", "Check the current state and what can be done.")
_ABSENT = "The next step needs {}, which this server's toolsets or policy disable; tell the user."


class ResponseBuilder:
    """Builds results and errors. `stamp` is added to each: the environment, and `simulated` if nothing is real."""

    def __init__(self, registry: Registry, stamp: Mapping[str, Any]) -> None:
        self._registry = registry
        self.stamp = dict(stamp)

    def result(self, outcome: Mapping[str, Any], says: str, once: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return a successful result. `once` adds values that the stored outcome does not hold.

        The first text repeats the object, because some clients read only that. The second, `says`, is for people.
        """
        body = self._stamped(dict(outcome) | dict(once or {}))
        content = [_object(body), _text(says)]
        return {"resultType": "complete", "content": content, "structuredContent": body}

    def error(self, payload: dict[str, Any], tool: str) -> dict[str, Any]:
        """Return an error result. If none of its next steps is usable, the message says to tell the user."""
        steps, usable = payload["next_steps"], self._registry.usable_names
        if steps and not any(step["tool"] in usable for step in steps):
            payload = payload | {"message": f"{payload['message']} {_ABSENT.format(steps[0]['tool'])}"}
        if not steps and payload["retryable"] and tool in usable:
            step = NextStep(tool, _again(payload.get("retry_after_seconds")))
            payload = payload | {"next_steps": [step.payload()]}
        return {"resultType": "complete", "content": [_object(self._stamped(payload))], "isError": True}

    def _stamped(self, body: dict[str, Any]) -> dict[str, Any]:
        # Drop steps to tools that settings or policy disable: the call would be wasted.
        usable = self._registry.usable_names
        steps = [step for step in body["next_steps"] if step["tool"] in usable]
        return body | self.stamp | {"next_steps": steps}


def _again(seconds: int | None) -> str:
    if seconds is None:
        return "Call again as the message says."
    return f"Repeat the same call after {seconds} seconds."


def _object(body: dict[str, Any]) -> dict[str, str]:
    return _text(to_json(body).decode())


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}

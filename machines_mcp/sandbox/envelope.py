"""Response formats: the API's envelope, or the Open Responses object that wraps it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

OPEN_RESPONSES: Final = "x-open-responses"
CALL_ID: Final = "x-open-responses-call-id"


@dataclass(frozen=True)
class Success:
    """A success response: `data`, a short lower-case summary, and when to poll again if work is in progress."""

    data: Mapping[str, Any]
    summary: str
    poll_after_ms: int | None = None

    def envelope(self) -> dict[str, Any]:
        envelope: dict[str, Any] = {"ok": True, "data": self.data, "summary": self.summary, "errors": []}
        if self.poll_after_ms is not None:
            envelope["next"] = {"pollAfterMs": max(1, self.poll_after_ms)}
        return envelope


@dataclass(eq=False)
class Refusal(Exception):
    """An error response. Its message is written by the sandbox and contains no value from the request."""

    status: int
    code: str
    message: str
    at: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def envelope(self) -> dict[str, Any]:
        error = {"code": self.code, "message": self.message}
        if self.at is not None:
            error["field"] = self.at
        return {"ok": False, "summary": self.message, "errors": [error]}


def invalid(at: str | None, message: str, *, code: str = "invalid_request") -> Refusal:
    """Return a 400: the request is not as documented. `at` is the dotted path of the field."""
    return Refusal(400, code, message, at)


def conflict(message: str, *, code: str = "invalid_state") -> Refusal:
    """Return a 409: the state of the user or resource does not allow the request."""
    return Refusal(409, code, message)


def not_found() -> Refusal:
    """Return a 404. A missing resource and another user's look the same."""
    return Refusal(404, "not_found", "not found")


def wire(envelope: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """Serialize the envelope, wrapped in an Open Responses object if the request's `headers` ask for it."""
    if headers.get(OPEN_RESPONSES) in ("1", "true"):
        envelope = _open_response(envelope, headers.get(CALL_ID) or f"call_{secrets.token_hex(12)}")
    return _compact(envelope).encode()


def _open_response(envelope: Mapping[str, Any], call_id: str) -> dict[str, Any]:
    ok = envelope["ok"]
    now = int(time.time())
    text = {"type": "output_text", "text": envelope["summary"], "annotations": [], "logprobs": []}
    return {
        "id": f"resp_{secrets.token_hex(12)}",
        "object": "response",
        "created_at": now,
        "completed_at": now if ok else None,
        "status": "completed" if ok else "failed",
        "model": "machinescash.partner",
        "output": [
            {
                "type": "message",
                "id": f"msg_{secrets.token_hex(12)}",
                "status": "completed",
                "role": "assistant",
                "content": [text],
            },
            {
                "type": "function_call_output",
                "id": f"fco_{secrets.token_hex(12)}",
                "status": "completed",
                "call_id": call_id,
                "output": _compact(envelope),
            },
        ],
        "error": None if ok else {key: envelope["errors"][0][key] for key in ("code", "message")},
        "incomplete_details": None,
        "tools": [],
        "tool_choice": "none",
        "truncation": "disabled",
        "parallel_tool_calls": False,
        "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
        "metadata": {},
    }


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

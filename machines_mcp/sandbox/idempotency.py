"""Idempotency keys: the same key and body return the first response; the same key with another body is a conflict.

It is not documented what the real API does with a key, so the control can make the sandbox ignore keys. A client should
work with both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from machines_mcp.sandbox.envelope import Refusal, Success, conflict, invalid

if TYPE_CHECKING:
    from machines_mcp.sandbox.call import Call

HEADER: Final = "Idempotency-Key"


def request_key(call: Call) -> str | None:
    """Return the effective key, None if there is none or keys are ignored; 400 unless it has 8 to 128 characters."""
    key = call.incoming.headers.get(HEADER.lower())
    if key is not None and not 8 <= len(key) <= 128:
        raise invalid(HEADER, "must have 8 to 128 characters")
    return key if call.state.keys.honoured else None


def fingerprint(call: Call) -> str:
    """Hash the body's JSON value, independently of the order of names."""
    return hashlib.sha256(json.dumps(call.body().values, sort_keys=True).encode()).hexdigest()


def reused() -> Refusal:
    """Return a 409: the key was used with another body."""
    return conflict("idempotency key was used with another body", code="idempotency_conflict")


def once(call: Call, operation: str, make: Callable[[], Success]) -> Success:
    """Call `make`, or replay the stored response for this user's key.

    The response is stored for good, in the same transaction as its effect. A refusal had no effect and is not stored.
    """
    key = request_key(call)
    if key is None:
        return make()
    body, state, user_id = fingerprint(call), call.state, call.user.user_id
    row = state.row(
        "SELECT * FROM idempotency WHERE user_id = ? AND operation = ? AND request_key = ?", user_id, operation, key
    )
    if row is None:
        answer = make()
        kept = json.dumps([answer.data, answer.summary, answer.poll_after_ms])
        state.insert(
            "idempotency", user_id=user_id, operation=operation, request_key=key, fingerprint=body, answer=kept
        )
        return answer
    if row["fingerprint"] != body:
        raise reused()
    return Success(*json.loads(row["answer"]))

"""Once per key: the same key with the same body gets the first answer again, with another body a conflict.

Nobody has documented what the real API does with a key, so the control can have them ignored: a client that does right
by both sorts of upstream does right by either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from machines_mcp.sandbox.envelope import Answer, Refusal, conflict, invalid

if TYPE_CHECKING:
    from machines_mcp.sandbox.call import Call

HEADER: Final = "Idempotency-Key"


class Keys:
    """Whether keys are honoured. They are, until the control says otherwise."""

    def __init__(self) -> None:
        self.honoured = True


def request_key(call: Call) -> str | None:
    """The key that counts for the request, None without one; 400 when it is not 8 to 128 characters long."""
    key = call.incoming.headers.get(HEADER.lower())
    if key is not None and not 8 <= len(key) <= 128:
        raise invalid(HEADER, "must have 8 to 128 characters")
    return key if call.state.keys.honoured else None


def fingerprint(call: Call) -> str:
    """Tells bodies apart by meaning: the order of names does not matter."""
    return hashlib.sha256(json.dumps(call.body().values, sort_keys=True).encode()).hexdigest()


def reused() -> Refusal:
    """409: the key belongs to another body."""
    return conflict("idempotency key was used with another body", code="idempotency_conflict")


def once(call: Call, operation: str, make: Callable[[], Answer]) -> Answer:
    """`make` the answer, or replay the one that this user's key got before.

    The answer is kept in the same transaction as its effect, for good; a refusal is not kept, nothing happened.
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
    return Answer(*json.loads(row["answer"]))

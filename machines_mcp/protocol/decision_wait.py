"""Wait for a person's decision, made in any process of the state folder. Cancellation stops it at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from machines_mcp.permissions.authorizer import Authorizer
from machines_mcp.protocol.tool_call import ToolCall
from machines_mcp.storage.database import StoreUnavailable

LOOK_SECONDS = 0.5
_LOOKS_PER_REPORT = 10

T = TypeVar("T")


async def wait_for_decision(call: ToolCall, approval_id: str, authorizer: Authorizer) -> None:
    """Return when the approval no longer waits, or after the call's `wait_seconds`. Report progress every 5 seconds."""
    start, looks = anyio.current_time(), 0
    while (left := start + call.wait_seconds - anyio.current_time()) > 0:
        # The store is the one place that every process writes to.
        if await authorizer.waiting(approval_id) is None:
            return
        if looks % _LOOKS_PER_REPORT == 0:
            await call.report(1 - left / call.wait_seconds, "a person's decision")
        looks += 1
        await anyio.sleep(min(left, LOOK_SECONDS))


async def while_waiting(approval_id: str, authorizer: Authorizer, ask: Callable[[], Awaitable[T]], otherwise: T) -> T:
    """Return the answer of `ask`, or `otherwise` as soon as the approval no longer waits. Then `ask` is cancelled.

    So a dialog closes if the request is withdrawn, or decided elsewhere.
    """
    answer = otherwise

    async def asked() -> None:
        nonlocal answer
        answer = await ask()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asked)
        while True:
            if not await _waits(approval_id, authorizer):
                tasks.cancel_scope.cancel()
            await anyio.sleep(LOOK_SECONDS)  # another process may decide it
    return answer


async def _waits(approval_id: str, authorizer: Authorizer) -> bool:
    try:
        return await authorizer.waiting(approval_id) is not None
    except StoreUnavailable:
        # The person's answer is judged with the store again.
        return True

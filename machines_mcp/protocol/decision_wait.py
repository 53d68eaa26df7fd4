"""Wait for a person's decision, made in any process of the state folder. Cancellation stops it at once."""

from __future__ import annotations

import anyio

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.authorizer import Authorizer
from machines_mcp.protocol.tool_call import ToolCall

LOOK_SECONDS = 0.5
_LOOKS_PER_REPORT = 10


async def wait_for_decision(call: ToolCall, approval: Approval, authorizer: Authorizer) -> None:
    """Return when the approval no longer waits, or after the call's `wait_seconds`. Report progress every 5 seconds."""
    start, looks = anyio.current_time(), 0
    while (left := start + call.wait_seconds - anyio.current_time()) > 0:
        # The store is the one place that every process writes to.
        if await authorizer.waiting(approval.id) is None:
            return
        if looks % _LOOKS_PER_REPORT == 0:
            await call.report(1 - left / call.wait_seconds, "a person's decision")
        looks += 1
        await anyio.sleep(min(left, LOOK_SECONDS))

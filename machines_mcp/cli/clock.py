"""Tell the operator about a clock that is behind the stored rows, and confirm it."""

from __future__ import annotations

import time

from machines_mcp.redaction.display import moment
from machines_mcp.server.settings import Settings
from machines_mcp.server.state_folder import open_guard

NOT_BEHIND = "The clock is not behind the stored rows, so changes are not held."


async def rebase(settings: Settings, *, confirmed: bool) -> tuple[bool, str]:
    """Confirm the clock if the operator did. Return whether changes are not held (any more), and a message.

    Raises:
        StoreUnavailable: The state folder can't be used.
    """
    async with open_guard(settings) as guard:
        until = await guard.clock_check.held_until()
        if until is None:
            return True, NOT_BEHIND
        if not confirmed:
            return False, f"{describe(until)} If {moment(time.time())} UTC is the right time now, add --yes."
        await guard.clock_check.rebase()
    return True, "The clock is confirmed, so changes are possible again. All waiting approvals and quotes have expired."


def describe(until: float) -> str:
    """Return sentences about a clock that has caught up at `until` (epoch seconds)."""
    return (
        f"The clock is behind stored rows that have a later time. Until {moment(until)} UTC, only reads, locking a card"
        " and closing one are possible."
    )

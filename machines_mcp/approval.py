"""Deciding a waiting call at a terminal."""

from __future__ import annotations

from machines_mcp.server import opened
from machines_mcp.settings import Settings


async def waiting_lines(settings: Settings) -> list[str]:
    """What waits, a line each."""
    async with opened(settings) as app:
        waiting = await app.guard.ways.waiting()
    return [f"{intent.id}  {intent.tool}: {intent.question}" for intent in waiting] or ["Nothing waits."]


async def decide(settings: Settings, approval_id: str, *, yes: bool) -> bool:
    """Record the decision; False where nothing waits under the id."""
    async with opened(settings) as app:
        ways = app.guard.ways
        return await (ways.grant if yes else ways.refuse)(approval_id, "terminal") in ("granted", "refused")

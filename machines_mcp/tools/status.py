"""Where things stand: the one tool to begin with, and to come back to when something is unclear."""

from __future__ import annotations

from datetime import UTC, datetime

from machines_mcp.guard.effect import Effect
from machines_mcp.guard.intents import Intent
from machines_mcp.guard.policy import Rule
from machines_mcp.protocol.tool import Call, Input, NextStep, Output, Part, tool
from machines_mcp.tools.services import Permission, Services


class StatusOf(Input):
    pass


class Waiting(Part):
    approval_id: str
    tool: str
    question: str
    expires_at: datetime


class Unresolved(Part):
    withdrawal_id: str
    status: str


class Status(Output):
    user_id: str | None = None
    permissions: list[Permission]
    waiting: list[Waiting]
    unresolved: list[Unresolved]


@tool(title="Status", toolset="always", open_world=False, effect=Effect.READ)
async def status(call: Call[Services], args: StatusOf) -> Status:
    """Begin here. Shows the environment, the user this server acts for (none: name user_id in each call), what is
    allowed, asked of a person or refused and why, what waits for a person, what is unresolved."""
    services = call.services
    found = await services.overview.look()
    first = NextStep(
        tool="create_session", why="Begin the journey, or go on with it, for a user.", arguments={"purpose": "kyc"}
    )
    return Status(
        user_id=services.pinned_user,
        permissions=list(services.permissions),
        waiting=[_waiting(intent) for intent in found.waiting],
        unresolved=[Unresolved(withdrawal_id=wid, status=state) for wid, state in found.withdrawals],
        next_steps=[first] if services.policy.rule(Effect.WRITE) is Rule.ALLOW else [],
    )


def _waiting(intent: Intent) -> Waiting:
    return Waiting(
        approval_id=intent.id,
        tool=intent.tool,
        question=intent.question,
        expires_at=datetime.fromtimestamp(intent.expires_at, UTC),
    )

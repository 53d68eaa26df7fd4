"""Steps 1 and 10: sessions with the least privilege for a purpose. Tokens stay on the server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.protocol.tool import NotExecuted, Output, Reconciliation, UserInput, tool
from machines_mcp.redaction.verbatim import Identifier
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.services import ServiceContext, next_step

if TYPE_CHECKING:
    from machines_mcp.partner import Scope


Purpose = Literal["kyc", "funding", "cards"]

SCOPES: dict[str, tuple[Scope, ...]] = {
    "kyc": ("kyc.read", "kyc.write"),
    "funding": ("deposits.read", "deposits.write", "transactions.read"),
    "cards": ("cards.read", "cards.write", "encryption.read", "encryption.write"),
}


class CreateSession(UserInput):
    purpose: Purpose = Field(description="kyc until KYC is approved, then funding or cards")


class SessionCreated(Output):
    session_id: Identifier | None = None
    purpose: Purpose
    scopes: list[str]
    expires_at: datetime | None = None

    def summary(self) -> str:
        return f"Session opened for {self.purpose}."


async def _reconcile(call: ServiceContext, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """Report it as not done: without its token, a session can't be used."""
    return NotExecuted("No session was kept. Create another.")


@tool(
    title="Create a session",
    toolset="onboarding",
    steps=(1, 10),
    action_class=ActionClass.WRITE,
    reconcile=_reconcile,
    idempotent=True,
    # Machines makes the user before it refuses them any other session.
    makes_user=lambda given: given.get("purpose") == "kyc",
)
async def create_session(call: ServiceContext, args: CreateSession) -> SessionCreated:
    """Open a Machines session for a user and a purpose; the journey starts with kyc. Optional: other tools open the
    sessions they need. Next: resolve_user."""
    client = await call.services.partner.client(call.logged_as)
    session = await client.sessions.open(call.user_id, SCOPES[args.purpose])
    follow = {
        "kyc": next_step(call, "resolve_user", "Create or find the user at Machines."),
        "funding": next_step(call, "list_deposit_assets", "See which currencies can fund the account."),
        "cards": next_step(call, "create_card", "Issue a card with a limit the user chooses."),
    }[args.purpose]
    return SessionCreated(
        session_id=session.session_id,
        purpose=args.purpose,
        scopes=sorted(session.scopes),
        expires_at=session.expires_at,
        next_steps=[follow],
    )

"""Steps 1 and 10: sessions, least privilege by purpose. Their tokens stay on the server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.protocol.tool import NotExecuted, Output, Reconciliation, UserInput, tool
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.services import UserCall, next_step

if TYPE_CHECKING:
    from machines_mcp.partner import Scope


Purpose = Literal["kyc", "funding", "cards"]

SCOPES: dict[str, tuple[Scope, ...]] = {
    "kyc": ("kyc.read", "kyc.write"),
    "funding": ("deposits.read", "deposits.write", "transactions.read"),
    "cards": ("cards.read", "cards.write", "encryption.read", "encryption.write"),
}


class CreateSession(UserInput):
    purpose: Purpose = Field(description="kyc before approval; funding or cards after it")


class SessionCreated(Output):
    session_id: Verbatim
    purpose: Purpose
    scopes: list[str]
    expires_at: datetime

    def summary(self) -> str:
        return f"A session is open for {self.purpose}."


async def _settle(call: UserCall, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """A session that nobody holds the token of is none."""
    return NotExecuted("No session was kept; open another.")


@tool(title="Create a session", toolset="onboarding", steps=(1, 10), action_class=ActionClass.WRITE, reconcile=_settle)
async def create_session(call: UserCall, args: CreateSession) -> SessionCreated:
    """Open a session with Machines for a user (user_id: your own id of them) and a purpose. Begin the journey with
    purpose kyc. Other tools open what they need by themselves. Next: resolve_user."""
    client = await call.services.partner()
    session = await client.sessions.open(call.user_id, SCOPES[args.purpose])
    follow = {
        "kyc": next_step(call, "resolve_user", "Create or find the user at Machines."),
        "funding": next_step(call, "list_deposit_assets", "See what the account can be funded with."),
        "cards": next_step(call, "create_card", "Issue a card; choose its limit with the user."),
    }[args.purpose]
    return SessionCreated(
        session_id=session.session_id,
        purpose=args.purpose,
        scopes=sorted(session.scopes),
        expires_at=session.expires_at,
        next_steps=[follow],
    )

"""The ways by which a person's decision enters: the client's dialog, the desk, the terminal, the vault's page.

This is the only place where a yes or a no of a person is taken, so what each way is worth is decided here: by the
policy, by the passphrase outside `embedded`, and by the intent itself, some of which only their own page can grant.
"""

from __future__ import annotations

from typing import Literal

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import Channel
from machines_mcp.permissions.approvals import ApprovalStore
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.passphrase import Passphrase
from machines_mcp.permissions.policy import Policy
from machines_mcp.redaction.secret import Secret

Decision = Literal["granted", "refused", "wrong", "locked", "unset", "not_allowed", "barred", "gone"]
"""What became of a decision: taken; a wrong passphrase, too many of them, none set; this way may not decide this; a
limit of the policy forbids it; or nothing waits under the id (any more)."""

_ASKED_FOR_THE_PASSPHRASE = ("desk", "terminal", "form")


class ApprovalChannels:
    """Takes decisions over the waiting intents of one state folder."""

    def __init__(self, approvals: ApprovalStore, policy: Policy, passphrase: Passphrase) -> None:
        self._approvals = approvals
        self._policy = policy
        self._passphrase = passphrase

    async def waiting(self) -> list[Approval]:
        """What a person can decide now, oldest first."""
        return [approval for approval in await self._approvals.waiting() if not self._approvals.is_expired(approval)]

    async def get(self, approval_id: str) -> Approval | None:
        """The intent if it waits for a decision."""
        approval = await self._approvals.get(approval_id)
        return (
            approval if approval and approval.state == "waiting" and not self._approvals.is_expired(approval) else None
        )

    async def ready(self) -> bool:
        """Whether a yes can count at all: outside `embedded` only once a passphrase is set."""
        return not self._policy.needs_passphrase or await self._passphrase.is_set()

    async def can_approve(self, approval: Approval, channel: Channel) -> bool:
        """Whether this way can grant this intent, as things stand."""
        return self._allowed(approval, channel) and await self.ready()

    async def grant(self, approval_id: str, channel: Channel, passphrase: Secret | None = None) -> Decision:
        """Record a yes; the call may then run once within 5 minutes."""
        approval = await self.get(approval_id)
        if approval is None:
            return "gone"
        if approval.details.only is not None or not self._allowed(approval, channel):
            return "not_allowed"
        return await self._missing(channel, passphrase) or (
            "granted" if await self._approvals.grant(approval_id, channel) else "gone"
        )

    async def refuse(self, approval_id: str, channel: Channel, passphrase: Secret | None = None) -> Decision:
        """Record a no. Any way can say it, with the passphrase where the way asks for one."""
        if await self.get(approval_id) is None:
            return "gone"
        return await self._missing(channel, passphrase) or (
            "refused" if await self._approvals.refuse(approval_id, channel) else "gone"
        )

    async def grant_and_consume(
        self, approval_id: str, channel: Literal["page", "form"], passphrase: Secret | None = None
    ) -> Decision:
        """Grant and consume at once, for the page that then does it: `granted` to exactly one of many callers.

        The vault's `page` has checked the passphrase itself, against the verifier that it was handed.
        """
        approval = await self.get(approval_id)
        if approval is None:
            return "gone"
        if approval.details.only != channel or not self._allowed(approval, channel):
            return "not_allowed"
        missing = await self._missing(channel, passphrase)
        if missing is not None:
            return missing
        try:
            return "granted" if await self._approvals.grant_and_consume(approval, channel) else "gone"
        except LimitExceeded:
            return "barred"

    async def check_passphrase(self, passphrase: Secret | None, channel: Channel = "desk") -> Decision:
        """`granted` for the right passphrase: for what proves a person and grants no call, as reading at the desk."""
        return await self._missing(channel, passphrase) or "granted"

    def _allowed(self, approval: Approval, channel: Channel) -> bool:
        if approval.details.only not in (None, channel):
            return False
        channels = self._policy.channels(ActionClass(approval.action_class), approval.details.sink)
        # The form stands at the desk, so whoever may decide there may fill it in.
        return ("desk" if channel == "form" else channel) in channels

    async def _missing(self, channel: Channel, passphrase: Secret | None) -> Literal["wrong", "locked", "unset"] | None:
        """Why the passphrase stands against it; None where it does not."""
        if not self._policy.needs_passphrase:
            return None
        if channel not in _ASKED_FOR_THE_PASSPHRASE:
            return None if await self._passphrase.is_set() else "unset"
        answer = await self._passphrase.check(passphrase or Secret(""), channel)
        return None if answer == "right" else answer

"""Record people's decisions from each channel: the client's dialog, the desk, the terminal and the vault's page.

No other module records a person's decision. The policy, the passphrase (outside `embedded`) and the approval itself
determine which channels count; some approvals can only be granted by their own page.
"""

from __future__ import annotations

from typing import Literal

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import Channel
from machines_mcp.permissions.approvals import ApprovalStore
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.decision import Decision
from machines_mcp.permissions.passphrase import Passphrase
from machines_mcp.permissions.passphrase_tries import PassphrasePlace
from machines_mcp.permissions.policy import Policy
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.freeze import Frozen

_PLACES: dict[Channel, PassphrasePlace] = {"desk": "desk", "form": "desk", "terminal": "terminal"}
"""The channels that ask for the passphrase, and the place where it is typed."""


class ApprovalChannels:
    """Records decisions on the waiting approvals of one state folder."""

    def __init__(self, approvals: ApprovalStore, policy: Policy, passphrase: Passphrase) -> None:
        self._approvals = approvals
        self._policy = policy
        self._passphrase = passphrase
        self._needs_passphrase = policy.needs_passphrase

    async def waiting(self) -> list[Approval]:
        """Return the approvals that a person can decide now, oldest first."""
        return [approval for approval in await self._approvals.waiting() if not self._approvals.is_expired(approval)]

    async def not_decidable(self) -> int:
        """Count the approvals that wait under another policy. They can't be decided here."""
        return sum(map(self._approvals.is_expired, await self._approvals.waiting()))

    async def get(self, approval_id: str) -> Approval | None:
        """Return the approval if it is waiting for a decision, else None."""
        approval = await self._approvals.get(approval_id)
        return (
            approval if approval and approval.state == "waiting" and not self._approvals.is_expired(approval) else None
        )

    async def ready(self) -> bool:
        """Return whether anything can be granted. Outside `embedded` this requires a passphrase."""
        return not self._needs_passphrase or await self._passphrase.is_set()

    async def can_approve(self, approval: Approval, channel: Channel) -> bool:
        """Return whether this channel can grant this approval now."""
        return self._allowed(approval, channel) and (not self._needs_passphrase or await self.ready())

    async def grant(self, approval_id: str, channel: Channel, passphrase: Secret | None = None) -> Decision:
        """Record a yes. The call may then run once within 5 minutes."""
        try:
            return await self.grant_or_raise(approval_id, channel, passphrase)
        except LimitExceeded:
            return "limit_exceeded"
        except Frozen:
            return "frozen"

    async def grant_or_raise(self, approval_id: str, channel: Channel, passphrase: Secret | None = None) -> Decision:
        """Like `grant`, but raise the reason.

        Raises:
            LimitExceeded: A limit would be exceeded. The approval goes on waiting, as after `Frozen`.
            Frozen: The changes of this user are frozen.
        """
        approval = await self.get(approval_id)
        if approval is None:
            return "gone"
        if approval.details.only is not None or not self._allowed(approval, channel):
            return "not_allowed"
        missing = await self._missing(channel, passphrase) if self._needs_passphrase else None
        return missing or ("granted" if await self._approvals.grant(approval_id, channel) else "gone")

    async def refuse(
        self, approval_id: str, channel: Channel, passphrase: Secret | None = None, *, signed_in: bool = False
    ) -> Decision:
        """Record a no. Any channel may refuse, with the passphrase if the channel asks for one.

        `signed_in`: the person proved the passphrase when the session began, so it is not asked for again.
        """
        if await self.get(approval_id) is None:
            return "gone"
        missing = None if signed_in else await self._missing(channel, passphrase)
        return missing or ("refused" if await self._approvals.refuse(approval_id, channel) else "gone")

    async def grant_and_consume(
        self, approval_id: str, channel: Literal["page", "form"], passphrase: Secret | None = None
    ) -> Decision:
        """Grant and consume at once, for a page that then runs the call. Only one concurrent caller gets `granted`.

        The vault's `page` has already checked the passphrase against the verifier it was given.
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
            return "limit_exceeded"
        except Frozen:
            return "frozen"

    async def check_passphrase(self, passphrase: Secret | None, place: PassphrasePlace = "desk") -> Decision:
        """Check the passphrase without approving anything, for example to sign in to the desk."""
        if not self._needs_passphrase:
            return "granted"
        answer = await self._passphrase.check(passphrase or Secret(""), place)
        return "granted" if answer == "right" else answer

    def _allowed(self, approval: Approval, channel: Channel) -> bool:
        if approval.details.only not in (None, channel):
            return False
        channels = self._policy.channels(ActionClass(approval.action_class), approval.details.sink)
        # The form is part of the desk, so the same rule applies.
        return ("desk" if channel == "form" else channel) in channels

    async def _missing(self, channel: Channel, passphrase: Secret | None) -> Decision | None:
        """Return why the passphrase check fails, or None if it passes."""
        if self._needs_passphrase and channel not in _PLACES:
            return None if await self._passphrase.is_set() else "unset"
        decision = await self.check_passphrase(passphrase, _PLACES.get(channel, "desk"))
        return None if decision == "granted" else decision

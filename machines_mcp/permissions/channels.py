"""The ways by which a person's decision enters: the client's dialog, the desk, the terminal, the vault's page.

This is the only place where a yes or a no of a person is taken, so what each way is worth is decided here: by the
policy, by the passphrase outside `embedded`, and by the intent itself, some of which only their own page can grant.
"""

from __future__ import annotations

from typing import Literal

from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.approval import Intent
from machines_mcp.permissions.approval_details import Way
from machines_mcp.permissions.approvals import Intents
from machines_mcp.permissions.cooldown import Barred
from machines_mcp.permissions.passphrase import Passphrase
from machines_mcp.permissions.policy import Policy
from machines_mcp.redaction.secret import Secret

Decision = Literal["granted", "refused", "wrong", "locked", "unset", "not_allowed", "barred", "gone"]
"""What became of a decision: taken; a wrong passphrase, too many of them, none set; this way may not decide this; a
limit of the policy forbids it; or nothing waits under the id (any more)."""

_ASKED_FOR_THE_PASSPHRASE = ("desk", "terminal", "form")


class Ways:
    """Takes decisions over the waiting intents of one state folder."""

    def __init__(self, intents: Intents, policy: Policy, passphrase: Passphrase) -> None:
        self._intents = intents
        self._policy = policy
        self._passphrase = passphrase

    async def waiting(self) -> list[Intent]:
        """What a person can decide now, oldest first."""
        return [intent for intent in await self._intents.waiting() if not self._intents.expired(intent)]

    async def get(self, intent_id: str) -> Intent | None:
        """The intent if it waits for a decision."""
        intent = await self._intents.get(intent_id)
        return intent if intent and intent.state == "waiting" and not self._intents.expired(intent) else None

    async def usable(self) -> bool:
        """Whether a yes can count at all: outside `embedded` only once a passphrase is set."""
        return not self._policy.needs_passphrase or await self._passphrase.is_set()

    async def open_to(self, intent: Intent, way: Way) -> bool:
        """Whether this way can grant this intent, as things stand."""
        return self._allowed(intent, way) and await self.usable()

    async def grant(self, intent_id: str, way: Way, passphrase: Secret | None = None) -> Decision:
        """Record a yes; the call may then run once within 5 minutes."""
        intent = await self.get(intent_id)
        if intent is None:
            return "gone"
        if intent.stakes.only is not None or not self._allowed(intent, way):
            return "not_allowed"
        return await self._missing(way, passphrase) or (
            "granted" if await self._intents.grant(intent_id, way) else "gone"
        )

    async def refuse(self, intent_id: str, way: Way, passphrase: Secret | None = None) -> Decision:
        """Record a no. Any way can say it, with the passphrase where the way asks for one."""
        if await self.get(intent_id) is None:
            return "gone"
        return await self._missing(way, passphrase) or (
            "refused" if await self._intents.refuse(intent_id, way) else "gone"
        )

    async def take(self, intent_id: str, way: Literal["page", "form"], passphrase: Secret | None = None) -> Decision:
        """Grant and consume at once, for the page that then does it: `granted` to exactly one of many callers.

        The vault's `page` has checked the passphrase itself, against the verifier that it was handed.
        """
        intent = await self.get(intent_id)
        if intent is None:
            return "gone"
        if intent.stakes.only != way or not self._allowed(intent, way):
            return "not_allowed"
        missing = await self._missing(way, passphrase)
        if missing is not None:
            return missing
        try:
            return "granted" if await self._intents.take(intent, way) else "gone"
        except Barred:
            return "barred"

    async def unlock(self, passphrase: Secret | None, way: Way = "desk") -> Decision:
        """`granted` for the right passphrase: for what proves a person and grants no call, as reading at the desk."""
        return await self._missing(way, passphrase) or "granted"

    def _allowed(self, intent: Intent, way: Way) -> bool:
        if intent.stakes.only not in (None, way):
            return False
        ways = self._policy.ways(Effect(intent.effect), intent.stakes.sink)
        # The form stands at the desk, so whoever may decide there may fill it in.
        return ("desk" if way == "form" else way) in ways

    async def _missing(self, way: Way, passphrase: Secret | None) -> Literal["wrong", "locked", "unset"] | None:
        """Why the passphrase stands against it; None where it does not."""
        if not self._policy.needs_passphrase:
            return None
        if way not in _ASKED_FOR_THE_PASSPHRASE:
            return None if await self._passphrase.is_set() else "unset"
        answer = await self._passphrase.check(passphrase or Secret(""), way)
        return None if answer == "right" else answer

"""Provisioning: whether a user's first deposit can come before the collateral contract exists."""

from __future__ import annotations

from typing import Final

from machines_mcp.sandbox.envelope import conflict

# The vendor's own client waits this long before it retries.
PROVISION_SECONDS: Final = 1.5


class Provisioning:
    """Immediate by default. When slow, a user's contract exists 1.5 seconds after the first request for it."""

    def __init__(self) -> None:
        self.is_slow = False
        self._ready_at: dict[str, float] = {}

    def slow(self, slow: bool) -> None:
        """Switch slow provisioning on or off, and start over for every user."""
        self.is_slow = slow
        self._ready_at.clear()

    def check(self, user_id: str, now: float) -> None:
        """Check that the user's contract exists.

        Raises:
            Refusal: 409 `missing_contract`, until the contract exists.
        """
        if self.is_slow and now < self._ready_at.setdefault(user_id, now + PROVISION_SECONDS):
            raise conflict("missing contract", code="missing_contract")

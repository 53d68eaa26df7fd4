"""Provisioning: whether a user's first deposit comes before the collateral contract is there."""

from __future__ import annotations

from typing import Final

from machines_mcp.sandbox.envelope import conflict

# The vendor's own client waits this long before it tries once more.
PROVISION_SECONDS: Final = 1.5


class Provisioning:
    """At once until the control says slow; then a user's contract is there 1.5 seconds after the first asking."""

    def __init__(self) -> None:
        self.is_slow = False
        self._ready_at: dict[str, float] = {}

    def slow(self, slow: bool) -> None:
        """Slow or at once from now on; every user begins anew."""
        self.is_slow = slow
        self._ready_at.clear()

    def check(self, user_id: str, now: float) -> None:
        """Let a deposit of the user through.

        Raises:
            Refusal: 409 `missing_contract`, while the contract is not there.
        """
        if self.is_slow and now < self._ready_at.setdefault(user_id, now + PROVISION_SECONDS):
            raise conflict("missing contract", code="missing_contract")

"""The time for which a page shows its card, which only the person can extend, once."""

from __future__ import annotations

import secrets

import anyio

SHOWN_SECONDS = 30
MORE_SECONDS = 60


class CardTime:
    """Runs from its creation. The page that shows the card has the token for more time, and no other page has it."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self._ends_at = anyio.current_time() + SHOWN_SECONDS
        self._extended = False

    def extend(self) -> bool:
        """Add `MORE_SECONDS`. Return False if the time is over or was extended before."""
        if self._extended or anyio.current_time() >= self._ends_at:
            return False
        self._extended = True
        self._ends_at += MORE_SECONDS
        return True

    async def passed(self) -> None:
        """Wait until the time is over."""
        while anyio.current_time() < self._ends_at:  # noqa: ASYNC110 - the end can move meanwhile
            await anyio.sleep_until(self._ends_at)

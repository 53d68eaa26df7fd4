"""How many requests are under way at once: one user's many leave room for the others'."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

TOTAL = 16
PER_USER = 4


class _UserLimit:
    """What one user's requests share, for as long as there is one of them."""

    def __init__(self, width: int) -> None:
        self.gate = anyio.Semaphore(width, fast_acquire=True)
        self.requests = 0


class RequestLimiter:
    """The requests of one client: at most `total` at once, `per_user` of them one user's; the rest wait in turn."""

    def __init__(self, total: int = TOTAL, per_user: int = PER_USER) -> None:
        self._per_user = per_user
        self._all = anyio.Semaphore(total, fast_acquire=True)
        self._users: dict[str, _UserLimit] = {}

    @asynccontextmanager
    async def slot(self, user_id: str | None) -> AsyncIterator[None]:
        """Wait for a place and hold it; None is the partner itself, which has no share of its own.

        Nobody waits in here for longer than the scope around it allows, and who gives up leaves no trace.
        """
        if user_id is None:
            async with self._all:
                yield
            return
        lane = self._users.setdefault(user_id, _UserLimit(self._per_user))
        lane.requests += 1
        try:
            # The user's own first: whoever waits there must not hold a place that another user could have.
            async with lane.gate, self._all:
                yield
        finally:
            lane.requests -= 1
            if not lane.requests:
                del self._users[user_id]

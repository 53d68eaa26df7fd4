"""Limit concurrent requests in total and per user, so that one user can't block the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

TOTAL = 16
PER_USER = 4


class _UserLimit:
    """State shared by one user's requests, removed with the last of them."""

    def __init__(self, width: int) -> None:
        self.gate = anyio.Semaphore(width, fast_acquire=True)
        self.requests = 0


class RequestLimiter:
    """Concurrency limits of one client: `total` requests, `per_user` of them for one user. Others wait."""

    def __init__(self, total: int = TOTAL, per_user: int = PER_USER) -> None:
        self._per_user = per_user
        self._all = anyio.Semaphore(total, fast_acquire=True)
        self._users: dict[str, _UserLimit] = {}

    @asynccontextmanager
    async def slot(self, user_id: str | None) -> AsyncIterator[None]:
        """Wait for a slot and hold it. A `user_id` of None is the partner itself, which has no per-user limit.

        Only the caller's cancel scope bounds the wait. A cancelled wait leaves nothing behind.
        """
        if user_id is None:
            async with self._all:
                yield
            return
        lane = self._users.setdefault(user_id, _UserLimit(self._per_user))
        lane.requests += 1
        try:
            # Wait for the user's slot first: that wait must not hold a slot that another user could take.
            async with lane.gate, self._all:
                yield
        finally:
            lane.requests -= 1
            if not lane.requests:
                del self._users[user_id]

"""Decide whether and when to retry a failed request, within a budget and never if that could duplicate it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import anyio

from machines_mcp.partner.errors import ConnectionLost, PartnerError, RateLimited, ServerError, Unreachable
from machines_mcp.partner.request import Request

# Maximum pause, in seconds, before the second, third and fourth attempt. Each pause is drawn between 0 and its maximum,
# so that clients which failed together do not retry together.
_PAUSES = (0.25, 1.5, 8.0)
ATTEMPTS = len(_PAUSES) + 1
LONGEST_RETRY_AFTER = 60.0

# In a window of this many seconds, retries may be 10 % of the requests: if every call fails, four attempts each would
# quadruple the load on a server that is already down. The floor lets a lone call retry.
_WINDOW_SECONDS = 10.0
_SHARE = 0.1
_FLOOR = 10


class RetryBudget:
    """The retry budget shared by one client's requests. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = anyio.current_time) -> None:
        self._clock = clock
        self._sent: deque[float] = deque()
        self._retried: deque[float] = deque()

    def record_request(self) -> None:
        """Count the first attempt of a request."""
        self._sent.append(self._clock())
        self._drop_old(self._sent)

    def delay(self, request: Request, error: PartnerError, attempts: int, left: float) -> float | None:
        """Return the seconds to wait before the next attempt after `attempts` of them, or None to raise `error`.

        The pause is at least `Retry-After`. If it would exceed the `left` seconds there is no retry, because `error`
        tells the caller more than a timeout.
        """
        if (
            attempts >= ATTEMPTS
            or not _is_safe_to_retry(request, error)
            or (error.retry_after or 0.0) > LONGEST_RETRY_AFTER
        ):
            return None
        seconds = (error.retry_after or 0.0) + random.uniform(0.0, _PAUSES[attempts - 1])  # noqa: S311 - not a secret
        return seconds if seconds < left and self._spend() else None

    def _spend(self) -> bool:
        self._drop_old(self._sent)
        self._drop_old(self._retried)
        if len(self._retried) >= max(_FLOOR, _SHARE * len(self._sent)):
            return False
        self._retried.append(self._clock())
        return True

    def _drop_old(self, times: deque[float]) -> None:
        oldest = self._clock() - _WINDOW_SECONDS
        while times and times[0] < oldest:
            times.popleft()


def is_retryable(request: Request) -> bool:
    """Whether this request may be retried after any kind of failure."""
    return request.repeatable or request.idempotency_key is not None


def _is_safe_to_retry(request: Request, error: PartnerError) -> bool:
    if not is_retryable(request):
        return False
    if isinstance(error, Unreachable | RateLimited):
        return True
    if isinstance(error, ConnectionLost):
        # Usually an idle connection that the server had just closed.
        return request.repeatable
    if not isinstance(error, ServerError) or error.status != 503:
        return False
    # A gateway may return 503 for a request that took effect, and how long a key is honoured is not documented. A 503
    # with Retry-After means that the request was turned away.
    return request.repeatable or error.retry_after is not None

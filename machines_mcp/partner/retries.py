"""Whether a request that failed is sent again, and when: spread out, within a budget, never where it could double."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import anyio

from machines_mcp.partner.errors import ConnectionLost, PartnerError, RateLimited, ServerError, Unreachable
from machines_mcp.partner.request import Request

# The longest pause, in seconds, before the second, third and fourth try. Each is drawn between 0 and that, so that a
# crowd which failed together does not come back together.
_PAUSES = (0.25, 1.5, 8.0)
ATTEMPTS = len(_PAUSES) + 1
LONGEST_RETRY_AFTER = 60.0

# Of all that was sent in the last so many seconds, one in ten may be a repetition: where everything fails, four tries
# of each would be four times the load on what is down already. A lone call may repeat itself all the same.
_WINDOW_SECONDS = 10.0
_SHARE = 0.1
_FLOOR = 10


class Retries:
    """What the requests of one client may repeat between them. `clock` is in seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = anyio.current_time) -> None:
        self._clock = clock
        self._sent: deque[float] = deque()
        self._repeated: deque[float] = deque()

    def count(self) -> None:
        """A request was sent for the first time."""
        self._sent.append(self._clock())
        self._forget(self._sent)

    def pause(self, request: Request, error: PartnerError, tries: int, left: float) -> float | None:
        """The seconds to wait before the next try after `tries` of them; None where `error` is the answer.

        The pause is as long as `Retry-After` says and never longer than the `left` seconds: the reason for a failure
        is worth more to the caller than a timeout.
        """
        if tries >= ATTEMPTS or not _is_harmless(request, error) or (error.retry_after or 0.0) > LONGEST_RETRY_AFTER:
            return None
        seconds = (error.retry_after or 0.0) + random.uniform(0.0, _PAUSES[tries - 1])  # noqa: S311 - hides nothing
        return seconds if seconds < left and self._take() else None

    def _take(self) -> bool:
        self._forget(self._sent)
        self._forget(self._repeated)
        if len(self._repeated) >= max(_FLOOR, _SHARE * len(self._sent)):
            return False
        self._repeated.append(self._clock())
        return True

    def _forget(self, times: deque[float]) -> None:
        oldest = self._clock() - _WINDOW_SECONDS
        while times and times[0] < oldest:
            times.popleft()


def is_repeatable(request: Request) -> bool:
    """Whether any failure of this request could be a reason to send it again."""
    return request.repeatable or request.idempotency_key is not None


def _is_harmless(request: Request, error: PartnerError) -> bool:
    if not is_repeatable(request):
        return False
    if isinstance(error, Unreachable | RateLimited):
        return True
    if isinstance(error, ConnectionLost):
        # Most often an idle connection that the other end had just closed.
        return request.repeatable
    if not isinstance(error, ServerError) or error.status != 503:
        return False
    # A gateway may say 503 of what was done behind it, and whether a key is honoured for good is not documented. One
    # that says when to come back has turned the request away.
    return request.repeatable or error.retry_after is not None

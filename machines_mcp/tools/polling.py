"""Poll for a change at the API's suggested interval and report progress. Cancellation stops it immediately."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio

from machines_mcp.tools.services import UserCall

if TYPE_CHECKING:
    from machines_mcp.partner import NextHint


DEFAULT_POLL_SECONDS = 5.0
MIN_POLL_SECONDS = 0.25


class PollableResponse(Protocol):
    """An API response that may suggest when to poll again."""

    @property
    def hint(self) -> NextHint | None: ...


H = TypeVar("H", bound=PollableResponse)


def poll_seconds(answer: PollableResponse) -> float:
    """Return the seconds until the next poll: the API's hint, or 5 without one."""
    if answer.hint is None or answer.hint.poll_after_ms is None:
        return DEFAULT_POLL_SECONDS
    return max(MIN_POLL_SECONDS, answer.hint.poll_after_ms / 1000)


async def wait_until(
    call: UserCall, fetch: Callable[[], Awaitable[H]], done: Callable[[H], bool], *, seconds: int, what: str
) -> tuple[H, bool]:
    """Poll for at most `seconds`; return the newest response and whether it is `done`."""
    answer = await fetch()
    start = time.monotonic()
    while not done(answer):
        left = seconds - (time.monotonic() - start)
        if left <= 0:
            return answer, False
        await call.progress(1 - left / seconds, what)
        await anyio.sleep(min(left, poll_seconds(answer)))
        answer = await fetch()
    return answer, True

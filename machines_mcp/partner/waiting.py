"""Poll until a state is final, at the interval that the API asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio

if TYPE_CHECKING:
    from machines_mcp.partner.models.base import NextHint

WAIT_SECONDS = 60.0
DEFAULT_POLL_SECONDS = 5.0
MIN_POLL_SECONDS = 0.25

# Called before each pause with the elapsed share of the time, 0 to 1.
OnWait = Callable[[float], Awaitable[None]]


class Hinted(Protocol):
    """A response that may suggest when to poll again."""

    @property
    def hint(self) -> NextHint | None: ...


class Pollable(Hinted, Protocol):
    """A response that also says whether its state is final."""

    @property
    def settled(self) -> bool: ...


H = TypeVar("H", bound=Hinted)
S = TypeVar("S", bound=Pollable)


def poll_seconds(answer: Hinted) -> float:
    """Return the seconds until the next poll: the API's hint, at least 0.25, or 5 without one."""
    if answer.hint is None or answer.hint.poll_after_ms is None:
        return DEFAULT_POLL_SECONDS
    return max(MIN_POLL_SECONDS, answer.hint.poll_after_ms / 1000)


async def wait_until(
    fetch: Callable[[], Awaitable[H]], done: Callable[[H], bool], *, seconds: float, on_wait: OnWait | None = None
) -> tuple[H, bool]:
    """Poll for at most `seconds` plus one call. Return the newest response and whether it is `done`. 0 polls once."""
    start = anyio.current_time()
    answer = await fetch()
    while not done(answer):
        left = start + seconds - anyio.current_time()
        if left <= 0:
            return answer, False
        if on_wait is not None:
            await on_wait(1 - left / seconds)
        await anyio.sleep(min(left, poll_seconds(answer)))
        answer = await fetch()
    return answer, True


async def wait_until_settled(fetch: Callable[[], Awaitable[S]], *, seconds: float, on_wait: OnWait | None = None) -> S:
    """Poll like `wait_until`, and return the newest response, settled or not."""
    answer, _ = await wait_until(fetch, lambda found: found.settled, seconds=seconds, on_wait=on_wait)
    return answer

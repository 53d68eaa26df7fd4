"""Asking again until something is settled, as often as the API wants to be asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import anyio

from machines_mcp.partner.models.base import NextHint

WAIT_SECONDS = 60.0
DEFAULT_POLL_SECONDS = 5.0
MIN_POLL_SECONDS = 0.25

# Told before each pause which share of the time is over, 0 to 1.
OnWait = Callable[[float], Awaitable[None]]


class Settling(Protocol):
    """An answer that says whether more is to come, and perhaps when to ask for it."""

    @property
    def settled(self) -> bool: ...

    @property
    def hint(self) -> NextHint | None: ...


S = TypeVar("S", bound=Settling)


def poll_seconds(answer: Settling) -> float:
    """When the API wants to be asked again, in seconds; 5 where it does not say."""
    if answer.hint is None or answer.hint.poll_after_ms is None:
        return DEFAULT_POLL_SECONDS
    return max(MIN_POLL_SECONDS, answer.hint.poll_after_ms / 1000)


async def wait_until_settled(fetch: Callable[[], Awaitable[S]], *, seconds: float, on_wait: OnWait | None = None) -> S:
    """The newest answer, settled or not, after at most `seconds` and the time of one call; 0 asks once."""
    start = anyio.current_time()
    answer = await fetch()
    while not answer.settled:
        left = start + seconds - anyio.current_time()
        if left <= 0:
            break
        if on_wait is not None:
            await on_wait(1 - left / seconds)
        await anyio.sleep(min(left, poll_seconds(answer)))
        answer = await fetch()
    return answer

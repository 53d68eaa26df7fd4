"""Wait for events, with one bound for all tests. Tests do not assert durations."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")

# Seconds. The bound is generous because 8 other processes may be busy on the same 2 cores.
PATIENCE = 60.0
# Seconds. The largest bound below 50 seconds, the limit of a tool call's wait.
SHORTER_THAN_A_WAIT = 40.0
_POLL_SECONDS = 0.02


async def eventually(look: Callable[[], T], bound: float = PATIENCE) -> T:
    """Return the first true value of `look`, for state that sends no event, such as another process's.

    Raises:
        TimeoutError: no value was true within `bound` seconds.
    """
    with anyio.fail_after(bound):
        while not (found := look()):  # noqa: ASYNC110 - the state sends no event
            await anyio.sleep(_POLL_SECONDS)
    return found


async def eventually_async(look: Callable[[], Awaitable[T]], bound: float = PATIENCE) -> T:
    """Return the first true value that `look` awaits. Raises `TimeoutError` after `bound` seconds."""
    with anyio.fail_after(bound):
        while not (found := await look()):  # noqa: ASYNC110 - the state sends no event
            await anyio.sleep(_POLL_SECONDS)
    return found


def wait_until(look: Callable[[], T], bound: float = PATIENCE) -> T:
    """Return the first true value of `look`, for tests without a loop.

    Raises:
        TimeoutError: no value was true within `bound` seconds.
    """
    end = time.monotonic() + bound
    while not (found := look()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {bound:g} seconds: {look}")
        time.sleep(_POLL_SECONDS)
    return found

"""Clocks that advance only when a test advances them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Clock:
    """A clock in seconds since the epoch. Call it to read the time."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class _ShiftedTime:
    real: Callable[[], float]
    ahead: float = 0.0

    def __call__(self) -> float:
        return self.real() + self.ahead


def advance_loop_clock(seconds: float) -> None:
    """Advance the running event loop's clock. Deadlines that this passes expire in the loop's next iteration."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop.time, _ShiftedTime):
        loop.time = _ShiftedTime(loop.time)  # type: ignore[method-assign]
    loop.time.ahead += seconds

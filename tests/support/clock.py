"""Clocks that move only when a test moves them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Clock:
    """Seconds since the epoch; call it to read it."""

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
    """Move the running event loop's clock ahead. Every deadline that this passes expires in the loop's next round."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop.time, _ShiftedTime):
        loop.time = _ShiftedTime(loop.time)  # type: ignore[method-assign]
    loop.time.ahead += seconds

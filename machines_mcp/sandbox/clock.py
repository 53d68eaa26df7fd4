"""The sandbox's clock: real time plus an offset that only the control can increase."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """A clock in unix seconds, never behind real time."""

    def __init__(self, offset: float = 0.0) -> None:
        self._offset = offset

    @property
    def offset(self) -> float:
        """Seconds ahead of real time."""
        return self._offset

    def now(self) -> float:
        """Return the current time of the sandbox."""
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward. Events scheduled up to the new time count as done."""
        self._offset += seconds


def iso(moment: float) -> str:
    """Format a time as the API does: UTC, milliseconds, `Z`."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

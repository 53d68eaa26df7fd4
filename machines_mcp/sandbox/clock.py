"""The sandbox's clock: real time plus an offset that only the control can increase. It never goes back."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """A clock in unix seconds, never behind real time. It waits while the machine's clock is set back."""

    def __init__(self, offset: float = 0.0) -> None:
        self._offset = offset
        self._latest = 0.0

    @property
    def offset(self) -> float:
        """Seconds ahead of real time."""
        return self._offset

    def now(self) -> float:
        """Return the current time of the sandbox."""
        self._latest = max(self._latest, time.time())
        return self._latest + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward. Events scheduled up to the new time count as done."""
        self._offset += seconds


def iso(moment: float) -> str:
    """Format a time as the API does: UTC, milliseconds, `Z`."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""The sandbox's own time: real time now, with an offset that only the control can push forward."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Unix seconds as a float, always at or ahead of real time."""

    def __init__(self, offset: float = 0.0) -> None:
        self._offset = offset

    @property
    def offset(self) -> float:
        """Seconds ahead of real time."""
        return self._offset

    def now(self) -> float:
        """The sandbox's present."""
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the present forward; what was waiting for that time has then happened."""
        self._offset += seconds


def iso(moment: float) -> str:
    """A moment as the API writes it: UTC, milliseconds, `Z`."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""The rate limit on the Partner API: off by default; the control sets a number of calls per window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from machines_mcp.sandbox.envelope import Refusal


@dataclass
class RateLimit:
    """At most `calls` (0: unlimited) per `window_seconds` of the sandbox's clock, across all users.

    A window begins with the first call after the previous window ended.
    """

    calls: int = 0
    window_seconds: int = 1
    _begun: float = -math.inf
    _made: int = 0

    def set(self, calls: int, window_seconds: int) -> None:
        """Replace the limit and start with a new window."""
        self.calls, self.window_seconds, self._begun = calls, window_seconds, -math.inf

    def count(self, now: float) -> None:
        """Count one call.

        Raises:
            Refusal: 429 with Retry-After in whole seconds, if the window is full.
        """
        if not self.calls:
            return
        if now >= self._begun + self.window_seconds:
            self._begun, self._made = now, 0
        if self._made >= self.calls:
            left = math.ceil(self._begun + self.window_seconds - now)
            raise Refusal(429, "rate_limited", "too many requests", headers={"Retry-After": str(max(1, left))})
        self._made += 1

    def view(self) -> dict[str, Any] | None:
        """Return the limit as the control shows it; None without a limit."""
        return {"calls": self.calls, "windowSeconds": self.window_seconds} if self.calls else None

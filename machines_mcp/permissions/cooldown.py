"""What stands against asking a person at all: a limit of the policy, or a pause after three refusals of a tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

REFUSALS_BEFORE_COOLDOWN = 3
REFUSALS_WITHIN_SECONDS = 10 * 60
COOLDOWN_SECONDS = 15 * 60


class LimitExceeded(Exception):
    """Limits or a pause don't let the call be asked or run. `code` names the limit by its path in the policy.

    `until`, in seconds since the epoch, is when a pause ends.
    """

    def __init__(self, code: str, until: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.until = until


def refuse_during_cooldown(db: sqlite3.Connection, tool: str, now: float) -> None:
    """After three refusals within ten minutes nobody is asked for 15 minutes: a person is not to be tired.

    Raises:
        Barred: Such a pause is on.
    """
    rows = db.execute(
        "SELECT decided_at FROM approvals WHERE tool = ? AND state = 'refused' AND decided_at > ?"
        " ORDER BY decided_at DESC",
        (tool, now - COOLDOWN_SECONDS - REFUSALS_WITHIN_SECONDS),
    )
    times = [float(row[0]) for row in rows]
    for last, first in zip(times, times[REFUSALS_BEFORE_COOLDOWN - 1 :], strict=False):
        if last - first <= REFUSALS_WITHIN_SECONDS and now < last + COOLDOWN_SECONDS:
            raise LimitExceeded("paused", last + COOLDOWN_SECONDS)

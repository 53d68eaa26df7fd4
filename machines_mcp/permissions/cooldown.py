"""Reasons to refuse a call before asking anyone: a policy limit, or a cooldown after a user's three refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from machines_mcp.permissions.approval_details import WITHDRAWN
from machines_mcp.permissions.clock import CLOCK_SLACK_SECONDS

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.permissions.approval_details import CallRequest

REFUSALS_BEFORE_COOLDOWN = 3
REFUSALS_WITHIN_SECONDS = 10 * 60
COOLDOWN_SECONDS = 15 * 60


class LimitExceeded(Exception):
    """A limit or a cooldown prevents asking for or running the call. `code` is the limit's path in the policy.

    `until` is when a cooldown ends, in seconds since the epoch.
    """

    def __init__(self, code: str, until: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.until = until


def refuse_during_cooldown(db: sqlite3.Connection, call_request: CallRequest, now: float) -> None:
    """Refuse to ask for 15 minutes after three refusals within ten, so that repeated requests don't tire a person.

    Never pauses a call that only protects.

    Raises:
        LimitExceeded: This user's calls of this tool and class are in cooldown.
    """
    if call_request.protective:
        return
    rows = db.execute(
        "SELECT decided_at FROM approvals WHERE user_id = ? AND tool = ? AND action_class = ?"
        " AND state = 'refused' AND decided_by IS NOT ? AND decided_at > ? AND decided_at <= ?"
        " ORDER BY decided_at DESC",
        (
            call_request.user_id,
            call_request.tool,
            call_request.action_class.value,
            # A withdrawn request is no person's no, and ends no cooldown.
            WITHDRAWN,
            now - COOLDOWN_SECONDS - REFUSALS_WITHIN_SECONDS,
            # Later ones are from a clock that was ahead.
            now + CLOCK_SLACK_SECONDS,
        ),
    )
    times = [float(row[0]) for row in rows]
    for last, first in zip(times, times[REFUSALS_BEFORE_COOLDOWN - 1 :], strict=False):
        if last - first <= REFUSALS_WITHIN_SECONDS and now < last + COOLDOWN_SECONDS:
            raise LimitExceeded("cooldown", last + COOLDOWN_SECONDS)

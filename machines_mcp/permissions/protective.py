"""Calls that only protect, such as locking a card, and their rate. No other limit, cooldown or freeze holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from machines_mcp.permissions.approval_details import WITHDRAWN
from machines_mcp.permissions.clock import CLOCK_SLACK_SECONDS

if TYPE_CHECKING:
    import sqlite3

LOCKS_PER_HOUR = 30
LOCKS = "rates.locks_per_hour"
PROTECTIVE = "protective"
"""The code of the audit row of such a call, which keeps it out of the shared rates."""
CANCEL_APPROVAL = "cancel_approval"
"""The tool that withdraws a request. It asks nobody, and no rate holds it."""

WITHDRAWN_ROWS = f"decided_by = '{WITHDRAWN}'"
"""The condition of withdrawn requests. They count in the rates as ones that were asked, so that asking and withdrawing
in turn is not free."""

# Rows from the future are from a clock that was ahead. They must not hold a call that protects.
_USED = (
    "SELECT (SELECT count(*) FROM audit WHERE at > :now - 3600 AND at <= :now + :slack AND verdict = 'executing'"  # noqa: S608
    f" AND code = '{PROTECTIVE}' AND tool IS NOT '{CANCEL_APPROVAL}' AND coalesce(user_id, '') = :audit_user_id)"
    " + (SELECT count(*) FROM approvals WHERE state IN ('waiting', 'granted') AND expires_at > :now"
    " AND user_id = :user AND id IS NOT :own AND json_extract(details, '$.protective'))"
    f" + (SELECT count(*) FROM approvals WHERE {WITHDRAWN_ROWS} AND created_at > :now - 3600"
    " AND created_at <= :now + :slack AND user_id = :user AND json_extract(details, '$.protective'))"
)


def exceeded_rate(
    db: sqlite3.Connection, most: int, user_id: str, audit_user_id: str, now: float, own: str | None
) -> str | None:
    """Return the policy path of the rate if this call of the user would exceed it, else None."""
    return LOCKS if used_locks(db, user_id, audit_user_id, now, own) >= most else None


def used_locks(db: sqlite3.Connection, user_id: str, audit_user_id: str, now: float, own: str | None = None) -> int:
    """Count the user's locks of the last hour, and waiting and withdrawn approvals of locks.

    The call's `own` approval does not count. `audit_user_id` is the user's id in the audit log.
    """
    given: dict[str, str | float | None] = {"now": now, "slack": CLOCK_SLACK_SECONDS}
    given |= {"user": user_id, "audit_user_id": audit_user_id, "own": own}
    return int(db.execute(_USED, given).fetchone()[0])

"""The rate of calls that only protect, such as locking a card. No other limit, cooldown or freeze holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from machines_mcp.permissions.clock import CLOCK_SLACK_SECONDS

if TYPE_CHECKING:
    import sqlite3

LOCKS_PER_HOUR = 30
LOCKS = "rates.locks_per_hour"
PROTECTIVE = "protective"
"""The code of the audit row of such a call, which keeps it out of the shared rates."""

# Rows from the future are from a clock that was ahead. They must not hold a call that protects.
_USED = (
    "SELECT (SELECT count(*) FROM audit WHERE at > :now - 3600 AND at <= :now + :slack AND verdict = 'executing'"  # noqa: S608
    f" AND code = '{PROTECTIVE}' AND coalesce(user_id, '') = :audit_user_id)"
    " + (SELECT count(*) FROM approvals WHERE state IN ('waiting', 'granted') AND expires_at > :now"
    " AND user_id = :user AND id IS NOT :own AND json_extract(details, '$.protective'))"
)


def exceeded_rate(
    db: sqlite3.Connection, most: int, user_id: str, audit_user_id: str, now: float, own: str | None
) -> str | None:
    """Return the policy path of the rate if this call of the user would exceed it, else None."""
    return LOCKS if used_locks(db, user_id, audit_user_id, now, own) >= most else None


def used_locks(db: sqlite3.Connection, user_id: str, audit_user_id: str, now: float, own: str | None = None) -> int:
    """Count the user's locks of the last hour and the waiting approvals of locks, except the call's `own` approval.

    `audit_user_id` is the user's id in the audit log.
    """
    given: dict[str, str | float | None] = {"now": now, "slack": CLOCK_SLACK_SECONDS}
    given |= {"user": user_id, "audit_user_id": audit_user_id, "own": own}
    return int(db.execute(_USED, given).fetchone()[0])

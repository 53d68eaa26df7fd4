"""Calls that only protect, such as locking a card, and the rate of those that run without asking anybody.

No other limit, cooldown or freeze holds them. To lock every card of a user is a denial of service, so above the rate a
person is asked, at most as often in a minute as the user's other calls may ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from machines_mcp.permissions.clock import CLOCK_SLACK_SECONDS

if TYPE_CHECKING:
    import sqlite3

LOCKS_PER_HOUR = 5
LOCKS = "rates.locks_per_hour"
WAITING_LOCKS = "approval.waiting_per_user"
PROTECTIVE = "protective"
"""The code of the audit row of such a call, which keeps it out of the shared rates."""
CANCEL_APPROVAL = "cancel_approval"
"""The tool that withdraws a request. It asks nobody, and no rate holds it."""

LOCKS_TOO = "locks"
"""The code of the audit row of a call that locks a card and does more."""
NOT_BEGUN = "not_begun"
"""The verdict of the audit row of such a call's end, if it sent no request."""
_IN_FLIGHT_SECONDS = 90

# Rows from the future are from a clock that was ahead. They must not hold a call that protects. A lock counts if it may
# have taken effect: not if it was refused, or if the card was locked already.
_LOCK = (
    "operation = 'PATCH /cards/{cardId}'"
    " AND CASE WHEN json_valid(body) THEN json_extract(body, '$.status') END = 'locked'"
    " AND created_at <= :now + :slack AND user_id = :user"
)
# Locks that were admitted without approval, and have neither reached the journal nor ended. Approved ones count in the
# journal only.
_RECENT = (
    "at > :now - :flight AND at <= :now + :slack AND approval_id IS NULL AND coalesce(user_id, '') = :audit_user_id"
)
_ADMITTED = (
    f"{_RECENT} AND verdict = 'executing'"
    f" AND code IN ('{PROTECTIVE}', '{LOCKS_TOO}') AND tool IS NOT '{CANCEL_APPROVAL}'"
)
_USED = (
    f"SELECT (SELECT count(*) FROM mutations WHERE {_LOCK} AND created_at > :now - 3600"  # noqa: S608 - constants only
    " AND state NOT IN ('rejected', 'unsent') AND before_status IS NOT 'locked')"
    f" + max(0, (SELECT count(*) FROM audit WHERE {_ADMITTED})"
    f" - (SELECT count(*) FROM audit WHERE {_RECENT} AND verdict = '{NOT_BEGUN}')"
    f" - (SELECT count(*) FROM mutations WHERE {_LOCK} AND created_at > :now - :flight AND approval_id IS NULL))"
)
_ASKED = (
    "SELECT count(*) FROM approvals WHERE state = 'waiting' AND expires_at > :now"
    " AND user_id = :user AND json_extract(details, '$.protective')"
)


def used_locks(db: sqlite3.Connection, user_id: str, audit_user_id: str, now: float) -> int:
    """Count the user's locks of the last hour that took effect. `audit_user_id` is the user's id in the audit log."""
    given: dict[str, str | float] = {"now": now, "slack": CLOCK_SLACK_SECONDS, "flight": _IN_FLIGHT_SECONDS}
    return int(db.execute(_USED, given | {"user": user_id, "audit_user_id": audit_user_id}).fetchone()[0])


def asked_locks(db: sqlite3.Connection, user_id: str, now: float) -> int:
    """Count the user's approvals of locks that wait."""
    return int(db.execute(_ASKED, {"now": now, "user": user_id}).fetchone()[0])

"""Detect a clock that is behind the stored rows, which could use a day's total or an expired approval twice.

It was set back, or it was ahead when the newest rows were written. Until it has caught up, or the operator confirms it,
only calls that need no limit run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from machines_mcp.storage.audit_record import AuditEntry
from machines_mcp.storage.audited_store import AuditedStore

if TYPE_CHECKING:
    import sqlite3


CLOCK_SLACK_SECONDS = 5 * 60
CLOCK_SET_BACK = "clock.set_back"
"""Not a policy path: the clock is over five minutes behind the newest row, so daily totals are unknown."""

_NEWEST_APPROVAL = (
    "SELECT max(coalesce((SELECT max(created_at) FROM approvals), 0),"
    " coalesce((SELECT max(started_at) FROM approvals), 0))"
)
_NEWEST_AUDIT = "SELECT at FROM audit INDEXED BY audit_by_time WHERE seq > ? ORDER BY at DESC LIMIT 1"


def newest_time(db: sqlite3.Connection) -> float:
    """Return the time of the newest row since the clock was last confirmed, in seconds since the epoch."""
    confirmed = db.execute("SELECT coalesce(max(seq), 0) FROM clock_rebases").fetchone()[0]
    row = db.execute(_NEWEST_AUDIT, (confirmed,)).fetchone()
    approval = db.execute(_NEWEST_APPROVAL).fetchone()[0]
    return max(float(approval), 0.0 if row is None else float(row[0]))


def is_set_back(db: sqlite3.Connection, now: float) -> bool:
    """Return whether the clock is over five minutes behind the newest row."""
    return now < newest_time(db) - CLOCK_SLACK_SECONDS


class ClockCheck:
    """The clock of a state folder.

    The methods raise `StoreUnavailable` if the state folder can't be used.
    """

    def __init__(self, audited: AuditedStore) -> None:
        self._store, self._record, self._clock = audited.store, audited.record, audited.clock

    async def held_until(self) -> float | None:
        """Return when a clock that is behind has caught up, in seconds since the epoch; None if it is not behind."""
        newest = await self._store.read(newest_time)
        until = newest - CLOCK_SLACK_SECONDS
        return until if self._clock() < until else None

    async def rebase(self) -> bool:
        """Confirm that the clock is right now, although rows are later. Returns False if it is not behind.

        Whatever waits expires, and calls dated later count for today.
        """

        def work(db: sqlite3.Connection) -> bool:
            now = self._clock()
            if not is_set_back(db, now):
                return False
            self._record(db, AuditEntry("setting", code="clock_rebased", by="operator"))
            db.execute("INSERT INTO clock_rebases (seq, at) SELECT max(seq) - 1, ? FROM audit", (now,))
            _end_at(db, now)
            return True

        return await self._store.run(work)


def _end_at(db: sqlite3.Connection, now: float) -> None:
    """Cap every stored time at `now`."""
    later = {"now": now}
    db.execute(
        "UPDATE approvals SET expires_at = :now WHERE state IN ('waiting', 'granted') AND expires_at > :now", later
    )
    for column in ("created_at", "started_at", "decided_at"):
        db.execute(f"UPDATE approvals SET {column} = :now WHERE {column} > :now", later)  # noqa: S608 - constants only
    db.execute("UPDATE quotes SET expires_at = :now WHERE expires_at > :now", later)

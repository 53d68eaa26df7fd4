"""Amounts paid out per UTC day, counted as the limits count them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.permissions.usage import DAY_SECONDS, MAY_HAVE_HAPPENED
from machines_mcp.storage.principal import OF_PRINCIPAL, Principal

if TYPE_CHECKING:
    import sqlite3

# As in `limits`: a call counts for the day it began, unless it is known to have failed.
_LEFT = (
    "SELECT CAST(started_at / :day AS INTEGER) AS number, sum(amount_cents) FROM approvals"  # noqa: S608
    f" WHERE amount_cents IS NOT NULL AND {OF_PRINCIPAL} AND started_at >= :first AND (state IN ('executing', 'done')"
    f" OR (state = 'failed' AND {MAY_HAVE_HAPPENED}))"
    " GROUP BY number"
)
_MAY_LEAVE = (
    "SELECT coalesce(sum(amount_cents), 0) FROM approvals"  # noqa: S608 - constants only
    f" WHERE amount_cents IS NOT NULL AND {OF_PRINCIPAL} AND state IN ('waiting', 'granted') AND expires_at > :now"
)


@dataclass(frozen=True, slots=True)
class DailyTotal:
    """One UTC day, starting at second `begins`. `open_cents` is asked for or approved and may still leave."""

    begins: int
    cents: int
    open_cents: int = 0


def daily_totals(db: sqlite3.Connection, principal: Principal, now: float, count: int) -> list[DailyTotal]:
    """Return the last `count` UTC days of the principal's users, ending with today."""
    today = int(now // DAY_SECONDS)
    numbers = range(today - count + 1, today + 1)
    given = principal.bound | {"day": float(DAY_SECONDS), "first": numbers[0] * DAY_SECONDS, "now": now}
    left = {int(number): int(cents) for number, cents in db.execute(_LEFT, given)}
    may_leave = int(db.execute(_MAY_LEAVE, given).fetchone()[0])
    return [
        DailyTotal(number * DAY_SECONDS, left.get(number, 0), may_leave if number == today else 0) for number in numbers
    ]

"""Amounts paid out per UTC day, counted as the limits count them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.permissions.usage import DAY_SECONDS
from machines_mcp.storage.principal import OF_PRINCIPAL, Principal

if TYPE_CHECKING:
    import sqlite3

_LEFT = "SELECT day, cents FROM daily_totals WHERE day >= ?"
_LEFT_OF_USERS = (
    "SELECT day, sum(cents) FROM user_daily_totals"
    " WHERE user_id IN (SELECT '' UNION ALL SELECT value FROM json_each(?)) AND day >= ? GROUP BY day"
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
    users = principal.bound["principal"]
    left = db.execute(_LEFT, (numbers[0],)) if users is None else db.execute(_LEFT_OF_USERS, (users, numbers[0]))
    cents = {int(number): int(total) for number, total in left}
    may_leave = int(db.execute(_MAY_LEAVE, principal.bound | {"now": now}).fetchone()[0])
    return [
        DailyTotal(number * DAY_SECONDS, cents.get(number, 0), may_leave if number == today else 0)
        for number in numbers
    ]

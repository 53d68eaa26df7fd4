"""Count what calls have used of the limits: money, reveals, approval requests and changes. Days are UTC."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.permissions.approval_details import WITHDRAWN
from machines_mcp.permissions.clock import CLOCK_SLACK_SECONDS
from machines_mcp.permissions.protective import PROTECTIVE
from machines_mcp.storage.principal import ANY_USER, Principal

if TYPE_CHECKING:
    import sqlite3

DAY_SECONDS = 24 * 60 * 60

MAY_HAVE_HAPPENED = (
    "coalesce(CASE WHEN json_valid(outcome) THEN json_extract(outcome, '$.code') END, 'outcome.unknown')"
    " IN ('outcome.unknown', 'output.blocked')"
)
"""Of failed calls, those whose outcome is unknown, and those that succeeded with a response that was withheld. The view
`payouts` has the same condition."""


@dataclass(frozen=True, slots=True)
class Usage:
    """A query of what calls have used of a limit, for some users and for all."""

    of_users: str
    of_all: str

    @classmethod
    def where(cls, query: str, column: str = "user_id") -> Usage:
        """Return the query with `{whose}` replaced. `column` is the user as an index has it."""
        return cls(query.replace("{whose}", f"{column} IN {_USERS}"), query.replace("{whose}", "true"))

    @classmethod
    def number(cls, rows: str, column: str = "user_id") -> Usage:
        """Return a query of the number of rows. It stops at the limit, so its cost does not grow with the rows."""
        return cls.where(f"SELECT count(*) FROM (SELECT 1 FROM {rows} AND {{whose}} LIMIT :most)", column)  # noqa: S608


_USERS = "(SELECT value FROM json_each(:users))"
_UNPROTECTIVE = "coalesce(json_extract(details, '$.protective'), 0) = 0"
# Expired and refused calls don't count. A granted call counts for everybody, because a person has approved it. A
# waiting one counts only when calls of its own user are asked for. A call counts for the day it began, because a grant
# given before midnight may be used after it. A failed one counts if it may have happened.
_MAY_RUN = (
    "id IS NOT :own AND state IN ('waiting', 'granted') AND expires_at > :now"
    # A plus keeps SQLite from an index for each side of the OR, in place of one with the user.
    " AND (+state = 'granted' OR (:waiting AND (:asker IS NULL OR user_id = :asker)))"
)
_RAN = (
    "id IS NOT :own AND started_at >= :day AND (state IN ('executing', 'done')"
    f" OR (state = 'failed' AND {MAY_HAVE_HAPPENED}))"
)
_SPENT = (
    "SELECT coalesce((SELECT sum(cents) FROM {totals} WHERE {whose} AND day >= :today), 0)"  # noqa: S608
    " - coalesce((SELECT cents FROM payouts WHERE id = :own AND day >= :today), 0)"
    f" + (SELECT coalesce(sum(amount_cents), 0) FROM approvals WHERE {_MAY_RUN} AND {{whose}})"
)
SPENT = Usage(
    Usage.where(_SPENT.replace("{totals}", "user_daily_totals")).of_users,
    Usage.where(_SPENT.replace("{totals}", "daily_totals")).of_all,
)
# Withdrawn requests count as asked, so that asking and withdrawing in turn is not free.
# The plus: not the card's earlier reveals, but the user's requests of today.
REVEALS = Usage.where(
    "SELECT (SELECT count(*) FROM approvals WHERE action_class = 'reveal' AND card_id = :card"  # noqa: S608
    f" AND {_RAN} AND {{whose}})"
    " + (SELECT count(*) FROM approvals WHERE action_class = 'reveal' AND card_id = :card"
    f" AND {_MAY_RUN} AND {{whose}})"
    " + (SELECT count(*) FROM approvals WHERE action_class = 'reveal' AND +card_id = :card"
    f" AND decided_by = '{WITHDRAWN}' AND created_at >= :day AND {{whose}})"
)
WAITING = Usage.number(f"approvals WHERE state = 'waiting' AND expires_at > :now AND {_UNPROTECTIVE}")
VERIFICATIONS = Usage.number(
    "audit WHERE at >= :day AND tool = 'reveal_card' AND verdict = 'executing' AND sink = 'none' AND card_id = :card"
)
# Rows later than now are from a clock that was ahead.
_ASKS = (
    "approvals WHERE created_at > :now - 60 AND created_at <= :now + :slack AND decided_by IS NOT 'policy'"
    # A person who unlocks cards from a list was not asked by a call.
    " AND json_extract(details, '$.only') IS NOT 'desk'"
)
ASKS = Usage.number(_ASKS)
LOCK_ASKS = Usage.number(f"{_ASKS} AND json_extract(details, '$.protective')")
# The requests for locks of one user take nothing from other users.
TOTAL_ASKS = Usage.number(f"{_ASKS} AND {_UNPROTECTIVE}")
MUTATIONS = Usage.number(
    "audit WHERE at > :now - 3600 AND at <= :now + :slack AND verdict = 'executing' AND action_class <> 'read'"
    f" AND code IS NOT '{PROTECTIVE}'",
    "coalesce(user_id, '')",
)


def used(
    db: sqlite3.Connection,
    usage: Usage,
    most: int,
    now: float,
    *,
    whose: Principal = ANY_USER,
    user_id: str | None = None,
    card_id: str | None = None,
    waiting: bool = True,
    asker: str | None = None,
    own: str | None = None,
) -> int:
    """Return how much was used of a limit of `most`, for one user or else for the principal `whose`.

    Calls are counted up to `most`. `waiting` approvals count only if they are the `asker`'s (None: anybody's). The
    approval `own` doesn't count.
    """
    # Rows of no user are everybody's.
    principal = None if whose.users is None else ["", *whose.users]
    users = principal if user_id is None else [user_id]
    given: dict[str, str | float | None] = {"users": json.dumps(users), "card": card_id, "asker": asker, "own": own}
    given |= {"now": now, "day": now - now % DAY_SECONDS, "today": int(now // DAY_SECONDS)}
    given |= {"waiting": waiting, "most": most}
    query = usage.of_all if users is None else usage.of_users
    return int(db.execute(query, given | {"slack": CLOCK_SLACK_SECONDS}).fetchone()[0])

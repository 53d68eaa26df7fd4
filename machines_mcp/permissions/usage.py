"""Count what calls have used of the limits: money, reveals, approval requests and changes. Days are UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from machines_mcp.permissions.clock import CLOCK_SLACK_SECONDS
from machines_mcp.permissions.protective import PROTECTIVE
from machines_mcp.storage.principal import ANY_USER, OF_PRINCIPAL, Principal

if TYPE_CHECKING:
    import sqlite3

DAY_SECONDS = 24 * 60 * 60

MAY_HAVE_HAPPENED = (
    "coalesce(json_extract(outcome, '$.code'), 'outcome.unknown') IN ('outcome.unknown', 'output.blocked')"
)
"""Of failed calls, those whose outcome is unknown, and those that succeeded with a response that was withheld."""

_WHOSE = f"{OF_PRINCIPAL} AND (:user IS NULL OR coalesce(user_id, '') = :user)"
# Expired and refused calls don't count. A granted call counts for everybody, because a person has approved it. A
# waiting one counts only when calls of its own user are asked for. A call counts for the day it began, because a grant
# given before midnight may be used after it. A failed one counts if it may have happened.
_COUNTS = (
    "id IS NOT :own AND ("
    "(state = 'waiting' AND expires_at > :now AND :waiting AND (:asker IS NULL OR user_id = :asker))"
    " OR (state = 'granted' AND expires_at > :now)"
    " OR (started_at >= :day AND (state IN ('executing', 'done')"
    f" OR (state = 'failed' AND {MAY_HAVE_HAPPENED}))))"
)
SPENT = (
    "SELECT coalesce(sum(amount_cents), 0) FROM approvals WHERE amount_cents IS NOT NULL"  # noqa: S608 - constants only
    f" AND {_WHOSE} AND {_COUNTS}"
)
REVEALS = (
    "SELECT count(*) FROM approvals WHERE action_class = 'reveal' AND card_id = :card"  # noqa: S608 - constants only
    f" AND {_WHOSE} AND {_COUNTS}"
)
WAITING = (
    "SELECT count(*) FROM approvals WHERE state = 'waiting' AND expires_at > :now"  # noqa: S608 - constants only
    f" AND coalesce(json_extract(details, '$.protective'), 0) = 0 AND {_WHOSE}"
)
VERIFICATIONS = (
    "SELECT count(*) FROM audit WHERE at >= :day AND tool = 'reveal_card' AND verdict = 'executing'"
    " AND sink = 'none' AND card_id = :card"
)
# Rows later than now are from a clock that was ahead. Calls that only protect have a rate of their own.
ASKS = (
    "SELECT count(*) FROM approvals WHERE created_at > :now - 60 AND created_at <= :now + :slack"  # noqa: S608
    " AND decided_by IS NOT 'policy' AND coalesce(json_extract(details, '$.protective'), 0) = 0"
    f" AND {_WHOSE}"
)
MUTATIONS = (
    "SELECT count(*) FROM audit WHERE at > :now - 3600 AND at <= :now + :slack"  # noqa: S608 - constants only
    f" AND verdict = 'executing' AND action_class <> 'read' AND code IS NOT '{PROTECTIVE}'"
    f" AND {_WHOSE}"
)


def used(
    db: sqlite3.Connection,
    query: str,
    now: float,
    *,
    whose: Principal = ANY_USER,
    user_id: str | None = None,
    card_id: str | None = None,
    waiting: bool = True,
    asker: str | None = None,
    own: str | None = None,
) -> int:
    """Return the sum or number of one of the queries above, for one user or else for the principal `whose`.

    `waiting` approvals count only if they are the `asker`'s (None: anybody's). The approval `own` doesn't count.
    """
    given = {"user": user_id, "card": card_id, "waiting": waiting, "asker": asker, "own": own, **whose.bound}
    given |= {"now": now, "day": now - now % DAY_SECONDS, "slack": CLOCK_SLACK_SECONDS}
    return int(db.execute(query, given).fetchone()[0])

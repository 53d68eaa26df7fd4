"""Lists of withdrawals: the newest of one user, and those without a final status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.principal import OF_PRINCIPAL, Principal

if TYPE_CHECKING:
    import sqlite3

_OPEN = "status IN ('requested', 'pending', 'unknown')"
# A withdrawal that was not begun gave its quote back, so it is none.
_OF_USER = "withdrawals.user_id = ? AND status <> 'not_begun'"


class WithdrawalRow(NamedTuple):
    """A withdrawal with the terms of its quote. Times are epoch seconds, `updated_at` that of its status."""

    id: Verbatim
    status: str
    terms: Mapping[str, Any]
    created_at: float
    updated_at: float


class OpenWithdrawal(NamedTuple):
    """A withdrawal without a final status."""

    id: Verbatim
    status: str
    since: float
    approval_id: str | None


def withdrawal_rows(db: sqlite3.Connection, user_id: str, limit: int) -> tuple[list[WithdrawalRow], int]:
    """Return the user's newest withdrawals, newest first and at most `limit`, and how many there are."""
    query = (
        "SELECT withdrawals.id, CASE WHEN status = 'ready' AND state <> 'signed' THEN state ELSE status END, terms,"  # noqa: S608
        " withdrawals.created_at, max(withdrawals.updated_at, coalesce(transactions.updated_at, 0)) FROM withdrawals"
        " JOIN quotes ON quotes.id = quote_id LEFT JOIN transactions ON withdrawal_id = withdrawals.id"
        f" WHERE {_OF_USER} ORDER BY withdrawals.rowid DESC LIMIT ?"
    )
    rows = [
        WithdrawalRow(Verbatim(row[0]), row[1], json.loads(row[2]), row[3], row[4])
        for row in db.execute(query, (user_id, limit))
    ]
    count = f"SELECT count(*) FROM withdrawals WHERE {_OF_USER}"  # noqa: S608 - constants only
    return rows, int(db.execute(count, (user_id,)).fetchone()[0])


def open_withdrawals(db: sqlite3.Connection, principal: Principal) -> list[OpenWithdrawal]:
    """Return the withdrawals without a final status, oldest first."""
    query = (
        f"SELECT id, status, created_at, approval_id FROM withdrawals WHERE {_OPEN} AND {OF_PRINCIPAL}"  # noqa: S608
        " ORDER BY created_at"
    )
    rows = db.execute(query, principal.bound)
    return [OpenWithdrawal(Verbatim(row["id"]), row["status"], row["created_at"], row["approval_id"]) for row in rows]


def others_unresolved(db: sqlite3.Connection, principal: Principal) -> int:
    """Return how many calls and withdrawals of other users have no known outcome. Each call counts once."""
    executing = f"SELECT count(*) FROM approvals WHERE state = 'executing' AND NOT {OF_PRINCIPAL}"  # noqa: S608
    ended = (
        f"SELECT count(*) FROM withdrawals WHERE {_OPEN} AND NOT {OF_PRINCIPAL} AND NOT EXISTS"  # noqa: S608 - constants
        " (SELECT 1 FROM approvals WHERE approvals.id = withdrawals.approval_id AND approvals.state = 'executing')"
    )
    return sum(int(db.execute(query, principal.bound).fetchone()[0]) for query in (executing, ended))

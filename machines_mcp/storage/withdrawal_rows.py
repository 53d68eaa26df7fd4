"""The withdrawals of one user, as a list shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from machines_mcp.redaction.verbatim import Verbatim

if TYPE_CHECKING:
    import sqlite3

# A withdrawal that was not begun gave its quote back, so it is none.
_OF_USER = "withdrawals.user_id = ? AND status <> 'not_begun'"


class WithdrawalRow(NamedTuple):
    """A withdrawal with the terms of its quote. Times are epoch seconds, `updated_at` that of its status."""

    id: Verbatim
    status: str
    terms: Mapping[str, Any]
    created_at: float
    updated_at: float


def withdrawal_rows(db: sqlite3.Connection, user_id: str, limit: int) -> tuple[list[WithdrawalRow], int]:
    """Return the user's newest withdrawals, newest first and at most `limit`, and how many there are."""
    query = (
        "SELECT withdrawals.id, status, terms, withdrawals.created_at, updated_at FROM withdrawals"  # noqa: S608
        f" JOIN quotes ON quotes.id = quote_id WHERE {_OF_USER} ORDER BY withdrawals.rowid DESC LIMIT ?"
    )
    rows = [
        WithdrawalRow(Verbatim(row[0]), row[1], json.loads(row[2]), row[3], row[4])
        for row in db.execute(query, (user_id, limit))
    ]
    count = f"SELECT count(*) FROM withdrawals WHERE {_OF_USER}"  # noqa: S608 - constants only
    return rows, int(db.execute(count, (user_id,)).fetchone()[0])

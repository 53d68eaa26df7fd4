"""The user's live signature: issued, neither used nor expired. A user has at most one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from machines_mcp.sandbox import ledger

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.sandbox.state import State

# Using a signature ends its hold.
_LIVE: Final = "FROM withdrawals WHERE user_id = ? AND answer NOT NULL AND held_until > ?"


def seconds_left(state: State, user_id: str) -> float:
    """Return how long the user's live signature still lasts; 0 without one."""
    now = state.clock.now()
    row = state.row(f"SELECT max(held_until) AS ends {_LIVE}", user_id, now)
    return 0.0 if row is None or row["ends"] is None else row["ends"] - now


def live(state: State, user_id: str) -> sqlite3.Row | None:
    """Return the withdrawal whose signature is live, or None."""
    return state.row(f"SELECT * {_LIVE}", user_id, state.clock.now())


def use(state: State, row: sqlite3.Row) -> int:
    """Debit the collateral for a withdrawal that was executed, and end its hold. Return the cents."""
    state.db.execute("UPDATE withdrawals SET held_until = 0 WHERE withdrawal_id = ?", (row["withdrawal_id"],))
    ledger.enter(state, row["user_id"], "collateral", -row["amount_cents"], at=state.clock.now())
    return int(row["amount_cents"])

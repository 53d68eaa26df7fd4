"""Freezes: a person stopped the changes of one user or of all. Each change and grant reads them in its transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.storage.principal import OF_PRINCIPAL, Principal

if TYPE_CHECKING:
    import sqlite3

EVERYONE = ""
"""The user id of a freeze for all users."""


class Frozen(Exception):
    """A person froze the changes of this user, so the call must not happen."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """One freeze. `since` is in seconds since the epoch, `by` the channel: `desk` or `terminal`."""

    user_id: str
    since: float
    by: str


def refuse_if_frozen(db: sqlite3.Connection, user_id: str) -> None:
    """Refuse a change for this user, within the transaction that would make it.

    Raises:
        Frozen: The changes of this user, or of all users, are frozen.
    """
    if db.execute("SELECT 1 FROM freezes WHERE user_id IN (?, ?)", (EVERYONE, user_id)).fetchone() is not None:
        raise Frozen


def freezes(db: sqlite3.Connection, principal: Principal) -> list[Freeze]:
    """Return the freezes of everyone and of the principal's users: first the one for everyone, then the newest."""
    query = (
        f"SELECT user_id, since, frozen_by FROM freezes WHERE {OF_PRINCIPAL}"  # noqa: S608 - constants only
        " ORDER BY user_id <> '', since DESC, user_id"
    )
    return [Freeze(*row) for row in db.execute(query, principal.bound)]


def is_frozen(db: sqlite3.Connection, user_id: str) -> bool:
    """Return whether there is a freeze of this user or, if empty, of everyone."""
    return db.execute("SELECT 1 FROM freezes WHERE user_id = ?", (user_id,)).fetchone() is not None


def insert_freeze(db: sqlite3.Connection, freeze: Freeze) -> bool:
    """Store a freeze. Returns False if this user is frozen already."""
    add = "INSERT INTO freezes (user_id, since, frozen_by) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    return db.execute(add, (freeze.user_id, freeze.since, freeze.by)).rowcount == 1


def delete_freeze(db: sqlite3.Connection, user_id: str) -> bool:
    """Remove the freeze of this user. Returns False if there is none."""
    return db.execute("DELETE FROM freezes WHERE user_id = ?", (user_id,)).rowcount == 1

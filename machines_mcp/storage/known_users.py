"""The users who exist at Machines, as far as a server knows.

The operator named them, or a call that changes something succeeded for them in this state folder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from machines_mcp.redaction.user_id import user_id_fault
from machines_mcp.storage.database import StoreUnavailable

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store
    from machines_mcp.storage.principal import Principal

logger = logging.getLogger(__name__)

MAX_REMEMBERED = 1024
MAX_RECENT = 50


class KnownUser(NamedTuple):
    """A user, and since when a state folder knows them, in epoch seconds."""

    user_id: str
    since: float


class KnownUsers:
    """The known users of one state folder. `recent` are those of this process's calls, oldest first, at most 50."""

    def __init__(self, store: Store, principal: Principal, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._principal = principal
        self._clock = clock
        self._remembered: set[str] = set()
        self.recent: dict[str, None] = {}

    async def knows(self, user_id: str) -> bool:
        """Return whether the user exists at Machines.

        Raises:
            StoreUnavailable: The database can't be read.
        """
        if self._principal.names(user_id):
            return True
        if user_id not in self._remembered and await self._store.read(lambda db: _is_known(db, user_id)):
            self._remember(user_id)
        return user_id in self._remembered

    async def newest(self, start: str, limit: int) -> tuple[list[KnownUser], int]:
        """Return the principal's stored users whose ids begin with `start`, newest first, and how many there are.

        At most `limit` are returned. The number may include ids that an older version took and no call can name.

        Raises:
            StoreUnavailable: The database can't be read.
        """
        return await self._store.read(lambda db: _newest(db, self._principal, start, limit))

    async def succeeded(self, user_id: str, *, changed: bool) -> None:
        """Note that a call succeeded for the user, who is known if it `changed` something.

        If that can't be written, only this process remembers it.
        """
        self.recent[user_id] = None
        if len(self.recent) > MAX_RECENT:
            del self.recent[next(iter(self.recent))]
        if not changed or user_id in self._remembered:
            return
        self._remember(user_id)
        add = "INSERT INTO known_users (user_id, since) VALUES (?, ?) ON CONFLICT DO NOTHING"
        try:
            await self._store.run(lambda db: db.execute(add, (user_id, self._clock())))
        except StoreUnavailable:
            logger.error("a user could not be stored")

    def _remember(self, user_id: str) -> None:
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered.add(user_id)


def _newest(db: sqlite3.Connection, principal: Principal, start: str, limit: int) -> tuple[list[KnownUser], int]:
    begins = "user_id >= :start AND user_id < :start || char(0x10FFFF)" if start else "true"
    whose = "true" if principal.users is None else "user_id IN (SELECT value FROM json_each(:principal))"
    where = f"FROM known_users WHERE {begins} AND {whose}"
    given = principal.bound | {"start": start}
    rows = db.execute(f"SELECT user_id, since {where} ORDER BY since DESC, user_id", given)
    # An older version took ids that are refused now, so no call could name them.
    users = (KnownUser(row[0], row[1]) for row in rows if user_id_fault(row[0]) is None)
    found = list(islice(users, limit))
    rows.close()
    if len(found) < limit:
        return found, len(found)
    (total,) = db.execute(f"SELECT count(*) {where}", given).fetchone()
    return found, total


def _is_known(db: sqlite3.Connection, user_id: str) -> bool:
    return db.execute("SELECT 1 FROM known_users WHERE user_id = ?", (user_id,)).fetchone() is not None

"""Who is at work on an intent that was taken: this process, another that lives, or nobody any more."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from machines_mcp.permissions.approval import Intent, executing_intents, find, moved
from machines_mcp.storage.database import StoreUnavailable

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store
    from machines_mcp.storage.process_locks import Owners

EXECUTION_SECONDS = 90.0
NOBODY = ""

logger = logging.getLogger(__name__)


class Executions:
    """The `executing` intents of a state folder. `owners` knows which processes live."""

    def __init__(self, store: Store, owners: Owners, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self.owners = owners
        self._abandoned: set[str] = set()

    def running(self, intent: Intent) -> bool:
        """Whether an `executing` intent may still come to its end by itself, here or in another process.

        Looks at one small file, where another process took it.
        """
        if intent.owner is None:
            # From before there were owners.
            return self._clock() - (intent.began_at or intent.created_at) <= EXECUTION_SECONDS
        if self.owners.is_own(intent.owner):
            return intent.id not in self._abandoned
        return self.owners.alive(intent.owner)

    async def cut_short(self) -> list[Intent]:
        """Those that nobody is at work on, oldest first."""
        return await self._store.read(lambda db: [one for one in executing_intents(db) if not self.running(one)])

    async def abandon(self, intent_id: str) -> None:
        """This process is no longer at work on it, and nobody can say yet how it ended: the row stays `executing`."""
        self._abandoned.add(intent_id)

        def work(db: sqlite3.Connection) -> None:
            values = (NOBODY, intent_id, self.owners.own())
            db.execute("UPDATE intents SET owner = ? WHERE id = ? AND state = 'executing' AND owner = ?", values)

        try:
            await self._store.run(work)
        except StoreUnavailable:
            # Known here, and to all others once this process is gone.
            logger.error("that a call was cut short could not be stored")

    async def take_over(self, intent_id: str) -> Intent | None:
        """Go to work on one that was cut short: of many who try, one gets it. None where it ended or another has it."""

        def work(db: sqlite3.Connection) -> Intent | None:
            intent = find(db, intent_id)
            if intent is None or intent.state != "executing" or intent.owner is None or self.running(intent):
                return None
            own = self.owners.own()
            change = "UPDATE intents SET owner = ? WHERE id = ? AND state = 'executing' AND owner = ?"
            if not moved(db, change, (own, intent_id, intent.owner)):
                return None
            self.began(intent_id)
            return intent

        left = intent_id in self._abandoned
        try:
            return await self._store.run(work)
        except StoreUnavailable:
            if left:
                self._abandoned.add(intent_id)
            raise

    def began(self, intent_id: str) -> None:
        """This process is at work on it, from within the transaction that says so: the next must see it."""
        self._abandoned.discard(intent_id)

"""The store without its thread, over an in-memory database. Coroutines run without an event loop.

It serves tests that run thousands of sequential transactions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from machines_mcp.storage import database
from machines_mcp.storage.database import Store

T = TypeVar("T")


class InlineStore(Store):
    """Runs each transaction immediately. Its folder holds keys and locks; the rows are in memory."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self.writes += 1
        return self._transact(work, "BEGIN IMMEDIATE")

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._transact(work, "BEGIN")

    def end(self) -> None:
        """Close the database and the unused thread pool."""
        self._close()
        self._thread.shutdown()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(":memory:", isolation_level=None)
        db.row_factory = sqlite3.Row
        database._migrate(db)
        self._db = db
        return db


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits and return its result."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("the coroutine waits for something")

"""The SQLite database in the state folder. One thread does all reads and writes.

`synchronous=FULL` with WAL: a committed transaction survives a power failure.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio

from machines_mcp.storage.files import open_or_make
from machines_mcp.storage.private_folder import NotPrivate, check_database, private_folder

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

_BUSY_SECONDS = 5.0


class StoreUnavailable(Exception):
    """The state folder or its database can't be used, so nothing that needs it may happen."""


class Store:
    """Runs short transactions on one worker thread, so that the event loop never waits for a disk.

    The first transaction creates the folder and opens the database.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="machines-store")
        self._db: sqlite3.Connection | None = None
        self._closed = False
        self.writes = 0
        """The number of write transactions this process has requested. Data read before the last one may be stale."""
        self._ends: list[Callable[[sqlite3.Connection, bool], None]] = []

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one write transaction and return its result.

        The transaction finishes even if the caller is cancelled, so no partial write remains.

        Raises:
            StoreUnavailable: The folder or the database can't be opened or written.
        """
        self.writes += 1
        with anyio.CancelScope(shield=True):
            result = await self._in_thread(lambda: self._transact(work, "BEGIN IMMEDIATE"))
        return result

    def post(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Like `run`, but from any thread and without waiting. The future completes on the store's thread.

        Raises:
            StoreUnavailable: The store is closed.
        """
        try:
            return self._thread.submit(self._transact, work, "BEGIN IMMEDIATE")
        except RuntimeError:
            raise StoreUnavailable from None

    def at_end(self, callback: Callable[[sqlite3.Connection, bool], None]) -> None:
        """Call `callback` once when the current transaction has ended, with True if it was committed.

        Only for use inside `work`. `callback` runs on the store's thread and must not raise.
        """
        if callback not in self._ends:
            self._ends.append(callback)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a consistent snapshot, without waiting for another server's writes.

        Raises:
            StoreUnavailable: The folder or the database can't be opened or read.
        """
        return await self._in_thread(lambda: self._transact(work, "BEGIN"))

    async def close(self) -> None:
        """Close the database after running work ends, even if the caller is cancelled. Safe to call twice."""
        import asyncio

        if self._closed:
            return
        self._closed = True
        closing = self._thread.submit(self._close)
        self._thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _transact(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        import sqlite3

        try:
            db = self._db or self._open()
            db.execute(begin)
            committed = False
            try:
                result = work(db)
                db.execute("COMMIT")
                committed = True
            finally:
                self._end(db, committed)
            return result
        except NotPrivate as error:
            raise StoreUnavailable(f"The state folder can't be used. {error}") from None
        except (sqlite3.Error, OSError):
            raise StoreUnavailable from None

    def _end(self, db: sqlite3.Connection, committed: bool) -> None:
        ends, self._ends = self._ends, []
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        finally:
            for callback in ends:
                callback(db, committed)

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        private_folder(self.folder)
        path = self.folder / "state.db"
        check_database(path)
        os.close(open_or_make(path, os.O_RDWR))
        db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            db.row_factory = sqlite3.Row
            _use_wal(db)
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            # Overwrite what is deleted: sealed identity data must not stay in free pages.
            db.execute("PRAGMA secure_delete = ON")
            _migrate(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        return db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait here if another process opens the file, so try for as long as it would."""
    import sqlite3

    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.02)


def _migrate(db: sqlite3.Connection) -> None:
    """Apply the missing numbered migrations in order. `user_version` is the number of the last one applied."""
    folder = resources.files("machines_mcp.storage").joinpath("migrations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    db.execute("BEGIN IMMEDIATE")
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > len(files):
            raise StoreUnavailable(
                "The state folder was written by a newer version of machines-mcp. Update it or use another folder."
            )
        for file in files[version:]:
            for statement in _statements(file.read_text(encoding="utf-8")):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(files)}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    import sqlite3

    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements

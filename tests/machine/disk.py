"""A state folder whose writes can fail. After a power cut, it holds only what was synced."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from machines_mcp.storage.database import Store, StoreUnavailable
from tests.machine.loop import Life, ProcessKilled, Schedule, seeded_random

T = TypeVar("T")

_WRITE = "BEGIN IMMEDIATE"
# SQLite's numbers: at FULL and EXTRA, a commit is synced when it returns.
_SYNCED_FROM = 2


class Disk:
    """The files of one database. No copies are kept while every commit is synced, because all data would survive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before: dict[str, bytes] | None = None
        self.failing = 0.0
        """The share of transactions that fail."""
        self.chance = seeded_random(0)

    def before_write(self, db: sqlite3.Connection) -> None:
        """Called before a write. If its commit won't be synced, save a copy of what would survive."""
        if self._before is None and not _syncs(db):
            self._before = {path.name: path.read_bytes() for path in self._files()}

    def after_write(self, db: sqlite3.Connection) -> None:
        """Called after a commit. A synced commit also syncs the earlier ones."""
        if _syncs(db):
            self._before = None

    def cut(self) -> None:
        """Cut the power. Every connection is already closed."""
        if self._before is None:
            return
        for path in self._files():
            path.unlink()
        for name, content in self._before.items():
            (self.folder / name).write_bytes(content)
        self._before = None

    def next_fault(self) -> str | None:
        """Choose the fault of the next transaction."""
        if self.failing and self.chance.random() < self.failing:
            return self.chance.choice(["begin", "commit"])
        return None

    def _files(self) -> list[Path]:
        return [path for name in ("state.db", "state.db-wal") if (path := self.folder / name).exists()]


class FaultyStore(Store):
    """The product's store on such a disk. Work of its thread runs at a schedule point instead."""

    def __init__(self, disk: Disk, life: Life, schedule: Schedule) -> None:
        super().__init__(disk.folder)
        self._thread.shutdown()
        self._disk = disk
        self._life = life
        self._schedule = schedule

    async def _in_thread(self, call: Callable[[], T]) -> T:
        await self._schedule.at("store", self._life)
        result = call()
        await self._schedule.at("stored", self._life)
        return result

    def post(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        done: Future[T] = Future()
        if self._closed:
            raise StoreUnavailable
        try:
            done.set_result(self._transact(work, _WRITE))
        except StoreUnavailable as error:
            done.set_exception(error)
        except ProcessKilled:
            pass  # no one will see it
        return done

    def _transact(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        self._life.check()
        try:
            db = self._db or self._open()
        except (sqlite3.Error, OSError):
            raise StoreUnavailable from None
        trouble = self._disk.next_fault()

        def failing(db: sqlite3.Connection) -> T:
            if trouble == "begin":
                raise sqlite3.OperationalError("disk I/O error")
            result = work(db)
            if trouble == "commit":
                raise sqlite3.OperationalError("database or disk is full")
            return result

        if begin == _WRITE:
            self._disk.before_write(db)
        result = super()._transact(failing, begin)
        if begin == _WRITE:
            self._disk.after_write(db)
        return result

    def drop(self) -> None:
        """Close the connection of a dead process, as the system does."""
        self._closed = True
        self._close()


def _syncs(db: sqlite3.Connection) -> bool:
    return int(db.execute("PRAGMA synchronous").fetchone()[0]) >= _SYNCED_FROM

"""The audit log: one row for each call, decision and alarm, in a hash chain that reveals tampering.

The row for a change is written before the change happens: in the same transaction (`append_in`) or its own (`append`).
If the write fails, the change must not happen. Rows for reads (`note`) are written in batches, at most 0.1 s later.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from machines_mcp.storage.audit_chain import Finding, chained, tolerant, verify
from machines_mcp.storage.audit_checkpoint import Checkpoint, newest, publish
from machines_mcp.storage.audit_record import COLUMNS, AuditEntry, AuditRow, Kind, fingerprinted
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.failpoints import failpoint

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store

__all__ = ["AuditEntry", "AuditLog", "AuditRow", "Checkpoint", "Finding", "Kind", "verify"]

logger = logging.getLogger(__name__)

BATCH_SECONDS = 0.1
RETRY_SECONDS = 1.0
MOST_QUEUED = 10_000

_COLUMNS = ", ".join(COLUMNS)
_INSERT = f"INSERT INTO audit ({_COLUMNS}, mac) VALUES ({'?, ' * len(COLUMNS)}?)"  # noqa: S608 - constants only


class AuditLog:
    """The audit log of one state folder. Servers can share it: each row is chained within its write transaction."""

    def __init__(
        self,
        store: Store,
        key: bytes,
        policy_digest: str,
        *,
        head_file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._key = key
        self._policy = policy_digest
        self._head_file = head_file
        self._clock = clock
        self._lock = threading.Lock()  # guards the queue: alarms on any thread add to it, the store's thread drains it
        self._queue: deque[tuple[float, AuditEntry]] = deque()
        self._dropped = 0
        self._posting = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        # For the current write transaction: queued entries written, dropped entries counted, any row written.
        self._taken = 0
        self._counted = 0
        self._touched = False
        self.broken = False
        """Whether the last write failed; False again after the next successful one."""
        self.head_broken = False
        """Whether the stored checkpoint could not be updated or does not belong to this chain."""

    def append_in(self, db: sqlite3.Connection, entry: AuditEntry) -> None:
        """Write the queued rows and then this one, within the caller's transaction (`store.run`).

        Raises:
            StoreUnavailable: The chain can't be continued.
        """
        self._drain(db)
        self._insert(db, self._clock(), entry)

    async def append(self, entry: AuditEntry) -> None:
        """Write the row now.

        Raises:
            StoreUnavailable: The row can't be written, so the change it records must not happen.
        """
        await self._written(lambda db: self.append_in(db, entry))

    def note(self, entry: AuditEntry) -> None:
        """Queue a row that records no change. It is written within 0.1 s, before any other row, or at `close`.

        While 10,000 rows wait, further ones are dropped and counted in a row of their own. Call on the loop's thread.
        """
        self._enqueue(entry, MOST_QUEUED)
        self._schedule(BATCH_SECONDS)

    def alarm(self, code: str) -> None:
        """Queue an `alarm` row, to be written as soon as possible. Safe to call from any thread."""
        logger.error("an alarm was raised; run machines-mcp audit show --kind alarm")
        self._enqueue(AuditEntry("alarm", code=code), 2 * MOST_QUEUED)
        self._post()

    async def flush(self) -> None:
        """Write the queued rows.

        Raises:
            StoreUnavailable: They can't be written and stay queued.
        """
        if self._due():
            await self._written(self._drain)

    async def close(self) -> None:
        """Write the queued rows before the store is closed. Log an error if they can't be written."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = None
        try:
            await self.flush()
        except StoreUnavailable:
            logger.error("audit rows were lost: they could not be written before shutdown")

    def trouble(self) -> str | None:
        """Return why the audit log is currently unwritable, for the operator; None if it is healthy."""
        if self.broken:
            return "The audit log can't be written, so all changes are refused. Run machines-mcp doctor."
        return "The audit checkpoint can't be updated. Run machines-mcp audit verify." if self.head_broken else None

    async def rows(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 200,
        tool: str | None = None,
        kind: str | None = None,
        user_id: str | None = None,
        since: float | None = None,
        until: float | None = None,
        newest_first: bool = False,
    ) -> list[AuditRow]:
        """Return at most `limit` rows with `after` < seq < `before` and `since` <= at < `until` (epoch seconds).

        Raises:
            StoreUnavailable: The database can't be read.
        """
        user = fingerprinted(self._key, user_id)
        tests = {"seq < ?": before, "tool = ?": tool, "kind = ?": kind, "user_id = ?": user, "at >= ?": since}
        tests["at < ?"] = until
        given = {"seq > ?": after} | {test: value for test, value in tests.items() if value is not None}
        order = "DESC" if newest_first else "ASC"
        query = f"SELECT {_COLUMNS} FROM audit WHERE {' AND '.join(given)} ORDER BY seq {order} LIMIT ?"  # noqa: S608
        values = (*given.values(), limit)

        def work(db: sqlite3.Connection) -> list[AuditRow]:
            with tolerant(db):
                return [AuditRow(*row) for row in db.execute(query, values)]

        return await self._store.read(work)

    async def verified(self, checkpoint: Checkpoint | None = None) -> Finding:
        """Verify the whole chain (see `verify`).

        Raises:
            StoreUnavailable: The database can't be read.
        """
        return await self._store.read(lambda db: verify(db, self._key, checkpoint))

    async def _written(self, work: Callable[[sqlite3.Connection], None]) -> None:
        try:
            await self._store.run(work)
        except StoreUnavailable:
            self._fail()
            raise

    def _insert(self, db: sqlite3.Connection, at: float, entry: AuditEntry) -> None:
        last = newest(db)
        values = (last.seq + 1, float(at), *entry.values(self._key), self._policy)
        db.execute(_INSERT, (*values, chained(self._key, bytes.fromhex(last.mac), values)))
        self._touched = True

    def _drain(self, db: sqlite3.Connection) -> None:
        """Write the queued rows. They leave the queue only after the transaction commits."""
        self._store.at_end(self._ended)
        with self._lock:
            waiting = list(islice(self._queue, self._taken, None))
            dropped = self._dropped - self._counted
        for at, entry in waiting:
            self._insert(db, at, entry)
        self._taken += len(waiting)
        if dropped:
            self._insert(db, self._clock(), AuditEntry("alarm", code=f"audit.not_kept:{dropped}"))
            self._counted += dropped

    def _ended(self, db: sqlite3.Connection, committed: bool) -> None:
        """Update the queue and the checkpoint after a transaction that may hold rows of ours."""
        taken, counted, touched = self._taken, self._counted, self._touched
        self._taken, self._counted, self._touched = 0, 0, False
        if not committed or not touched:
            return
        with self._lock:
            self._dropped -= counted
            for _ in range(taken):
                self._queue.popleft()
        self.broken = False
        if self._head_file is not None:
            self.head_broken = not publish(db, self._head_file)
        failpoint("audit.appended")

    def _enqueue(self, entry: AuditEntry, most: int) -> None:
        with self._lock:
            if len(self._queue) < most:
                self._queue.append((self._clock(), entry))
            else:
                self._dropped += 1

    def _due(self) -> bool:
        return bool(self._queue or self._dropped)

    def _schedule(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._batch)

    def _batch(self) -> None:
        self._timer = None
        self._post()

    def _post(self) -> None:
        with self._lock:
            if self._posting or not (self._queue or self._dropped):
                return
            self._posting = True
        try:
            self._store.post(self._drain).add_done_callback(self._posted)
        except StoreUnavailable:
            self._posting = False
            self._fail()

    def _posted(self, done: Future[None]) -> None:
        self._posting = False
        if not done.cancelled() and done.exception() is None:
            self._post()  # rows queued during the write
            return
        self._fail()
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._schedule, RETRY_SECONDS)

    def _fail(self) -> None:
        self.broken = True
        logger.error("the audit log could not be written")

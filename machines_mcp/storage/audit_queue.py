"""Audit entries that wait to be written: reads in batches, at most 0.1 s later, and alarms as soon as possible."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from machines_mcp.storage.audit_record import AuditEntry
from machines_mcp.storage.database import StoreUnavailable

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store

BATCH_SECONDS = 0.1
RETRY_SECONDS = 1.0
MAX_QUEUED = 10_000


class AuditQueue:
    """The queue of one audit log.

    `insert` writes one entry with its time, within a write transaction. `failed` is called if the queue can't be
    written; the entries stay queued.
    """

    def __init__(
        self,
        store: Store,
        insert: Callable[[sqlite3.Connection, float, AuditEntry], None],
        failed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._insert = insert
        self._failed = failed
        self._clock = clock
        self._lock = threading.Lock()  # alarms on any thread add entries, the store's thread writes them
        self._queue: deque[tuple[float, AuditEntry]] = deque()
        self._dropped = 0
        self._posting = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        # For the current write transaction: queued entries written, dropped entries counted.
        self._taken = 0
        self._counted = 0

    @property
    def due(self) -> bool:
        """Whether anything waits to be written."""
        return bool(self._queue or self._dropped)

    def note(self, entry: AuditEntry) -> None:
        """Queue the entry for the next batch, or count it as dropped if 10,000 wait. Call on the loop's thread."""
        self._add(entry, MAX_QUEUED)
        self._schedule(BATCH_SECONDS)

    def alarm(self, code: str) -> None:
        """Queue an alarm, and write the queue as soon as possible. Safe to call from any thread."""
        self._add(AuditEntry("alarm", code=code), 2 * MAX_QUEUED)
        self._post()

    def drain(self, db: sqlite3.Connection) -> None:
        """Write the queued entries. They leave the queue only after the transaction commits."""
        with self._lock:
            waiting = list(islice(self._queue, self._taken, None))
            dropped = self._dropped - self._counted
        for at, entry in waiting:
            self._insert(db, at, entry)
        self._taken += len(waiting)
        if dropped:
            self._insert(db, self._clock(), AuditEntry("alarm", code=f"audit.not_kept:{dropped}"))
            self._counted += dropped

    def transaction_ended(self, *, committed: bool) -> None:
        """Remove the entries that the ended transaction wrote; keep them if it was rolled back."""
        taken, counted = self._taken, self._counted
        self._taken, self._counted = 0, 0
        if not committed:
            return
        with self._lock:
            self._dropped -= counted
            for _ in range(taken):
                self._queue.popleft()

    def stop(self) -> None:
        """Schedule no further batch."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = None

    def _add(self, entry: AuditEntry, most: int) -> None:
        with self._lock:
            if len(self._queue) < most:
                self._queue.append((self._clock(), entry))
            else:
                self._dropped += 1

    def _schedule(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._batch)

    def _batch(self) -> None:
        self._timer = None
        self._post()

    def _post(self) -> None:
        with self._lock:
            if self._posting or not self.due:
                return
            self._posting = True
        try:
            self._store.post(self.drain).add_done_callback(self._posted)
        except StoreUnavailable:
            self._posting = False
            self._failed()

    def _posted(self, done: Future[None]) -> None:
        self._posting = False
        if not done.cancelled() and done.exception() is None:
            self._post()  # entries queued during the write
            return
        self._failed()
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._schedule, RETRY_SECONDS)

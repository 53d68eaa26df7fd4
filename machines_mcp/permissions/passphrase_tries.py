"""Delay passphrase tries after wrong ones, separately for each way to type a passphrase, so that none locks another."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio

from machines_mcp.permissions.approval_details import Channel
from machines_mcp.permissions.decision import MESSAGES, Decision
from machines_mcp.redaction.display import moment
from machines_mcp.storage.audit_log import AuditEntry

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store

Way: TypeAlias = Literal["sign-in", "desk", "terminal", "page"]
"""Where a passphrase is typed: the desk's sign-in, a signed-in desk, a terminal, or the vault's page."""

MAX_DELAY_SECONDS = 60
FORGET_SECONDS = 15 * 60
"""After this time without a try, the delays begin anew."""
ALARM_TRIES = 5
ALARM_SECONDS = 24 * 60 * 60
CHECK_SECONDS = 5.0
"""How long a try is believed to be still checked by another process."""
_POLL_SECONDS = 0.05

_CHANNELS: dict[Way, Channel] = {"sign-in": "desk", "desk": "desk", "terminal": "terminal", "page": "page"}
_PLACES: dict[Way, str] = {
    "sign-in": "at the desk's sign-in",
    "desk": "at the desk",
    "terminal": "in a terminal",
    "page": "on a card's page",
}


@dataclass(frozen=True, slots=True)
class WrongTries:
    """The wrong tries of one way. Times are seconds since the epoch."""

    way: Way
    count: int
    since: float
    last_at: float


class PassphraseTries:
    """The tries of one state folder. After 1, 2, 3 … wrong ones in a row, the next waits 1, 2, 4 … 60 seconds.

    `record` writes an audit entry inside the caller's transaction. Times are seconds since the epoch by `clock`.
    """

    def __init__(
        self,
        store: Store,
        record: Callable[[sqlite3.Connection, AuditEntry], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._record = record
        self._clock = clock

    async def begin(self, way: Way) -> float:
        """Return 0 if a passphrase may be checked now, else the seconds until one may.

        The try counts as wrong until `end`, so that a crash, or another process that asks meanwhile, gains nothing.

        Raises:
            StoreUnavailable: The try can't be counted, so nothing may be checked.
        """
        with anyio.move_on_after(CHECK_SECONDS):
            while True:
                wait = await self._store.run(lambda db: self._begin(db, way))
                if wait is not None:
                    return wait
                await anyio.sleep(_POLL_SECONDS)
        return 1.0

    async def end(self, way: Way, *, right: bool) -> float:
        """Record the result of the try that began. Return the seconds until the next one.

        Raises:
            StoreUnavailable: It can't be recorded. The try counts as wrong.
        """
        return await self._store.run(lambda db: self._end(db, way, right))

    async def wait(self, way: Way) -> float:
        """Return the seconds until a passphrase may be checked; 0 if it may be now."""
        return await self._store.read(lambda db: _wait(_row(db, way), self._clock()))

    async def explain(self, decision: Decision, way: Way) -> str:
        """Return the message for a decision. After a wrong passphrase, it says when the next one is checked."""
        wait = ceil(await self.wait(way)) if decision in ("wrong", "delayed") else 0
        hint = f" Try again in {wait} second{'s' if wait > 1 else ''}." if wait else ""
        return MESSAGES[decision] + hint

    async def alarms(self) -> list[WrongTries]:
        """Return the wrong tries of each way with five or more, until a day after the last one."""

        def work(db: sqlite3.Connection) -> list[WrongTries]:
            found = "SELECT way, recent, since, last_at FROM passphrase_tries WHERE recent >= ? AND last_at > ?"
            rows = db.execute(f"{found} ORDER BY way", (ALARM_TRIES, self._clock() - ALARM_SECONDS))
            return [WrongTries(*row) for row in rows]

        return await self._store.read(work)

    def _begin(self, db: sqlite3.Connection, way: Way) -> float | None:
        """Count a try. Return the seconds to wait instead, or None if another process is checking one."""
        now, row = self._clock(), _row(db, way)
        if row is not None and row["last_at"] > now:
            # The clock was set back. The delay begins anew, so that it ends.
            db.execute("UPDATE passphrase_tries SET last_at = ?, checking = 0 WHERE way = ?", (now, way))
            row = _row(db, way)
        if row is not None and row["checking"] and now < row["last_at"] + CHECK_SECONDS:
            return None
        wait = _wait(row, now)
        if wait > 0:
            return wait
        wrong = 0 if row is None or now >= row["last_at"] + FORGET_SECONDS else row["wrong"]
        recent, since = (row["recent"], row["since"]) if row is not None else (0, now)
        if now >= since + ALARM_SECONDS:
            recent, since = 0, now
        db.execute(
            "REPLACE INTO passphrase_tries (way, wrong, last_at, checking, recent, since) VALUES (?, ?, ?, 1, ?, ?)",
            (way, wrong + 1, now, recent + 1, since),
        )
        return 0.0

    def _end(self, db: sqlite3.Connection, way: Way, right: bool) -> float:
        if right:
            db.execute("UPDATE passphrase_tries SET wrong = 0, checking = 0, recent = recent - 1 WHERE way = ?", (way,))
            return 0.0
        db.execute("UPDATE passphrase_tries SET checking = 0 WHERE way = ?", (way,))
        by, row = _CHANNELS[way], _row(db, way)
        self._record(db, AuditEntry(kind="decision", verdict="wrong", code="passphrase", by=by))
        if row is not None and row["wrong"] == ALARM_TRIES:
            self._record(db, AuditEntry(kind="alarm", code="passphrase.wrong_tries", by=by))
        return _wait(row, self._clock())


def _row(db: sqlite3.Connection, way: Way) -> sqlite3.Row | None:
    found: sqlite3.Row | None = db.execute("SELECT * FROM passphrase_tries WHERE way = ?", (way,)).fetchone()
    return found


def _wait(row: sqlite3.Row | None, now: float) -> float:
    if row is None or row["wrong"] == 0:
        return 0.0
    delay = min(MAX_DELAY_SECONDS, 2 ** min(row["wrong"] - 1, 6))
    return float(min(delay, max(0.0, row["last_at"] + delay - now)))


def format_alarm(found: WrongTries) -> str:
    """Return an alarm as sentences for a person."""
    since, last = moment(found.since), moment(found.last_at)
    count = (
        f"{found.count} wrong passphrases were typed {_PLACES[found.way]} since {since} UTC, the last at {last[11:]}."
    )
    return f"{count} If you did not type them, find out which program or user of this machine did."

"""Delay passphrase tries after wrong ones, separately for each place to type one, so that none locks another."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio

from machines_mcp.permissions.approval_details import Channel
from machines_mcp.permissions.decision import MESSAGES, Decision
from machines_mcp.redaction.display import moment
from machines_mcp.storage.audit_log import AuditEntry
from machines_mcp.storage.audited_store import AuditedStore
from machines_mcp.storage.migrations.stored_names import PLACE_COLUMN

if TYPE_CHECKING:
    import sqlite3


PassphrasePlace: TypeAlias = Literal["sign-in", "desk", "terminal", "page"]
"""Where a passphrase is typed: the desk's sign-in, a signed-in desk, a terminal, or the vault's page."""

MAX_DELAY_SECONDS = 60
FORGET_SECONDS = 15 * 60
"""After this time without a try, the delays begin anew."""
ALARM_TRIES = 5
ALARM_SECONDS = 24 * 60 * 60
CHECK_SECONDS = 5.0
"""How long a try is believed to be still checked by another process."""
_POLL_SECONDS = 0.05

_CHANNELS: dict[PassphrasePlace, Channel] = {"sign-in": "desk", "desk": "desk", "terminal": "terminal", "page": "page"}
_PHRASES: dict[PassphrasePlace, str] = {
    "sign-in": "at the desk's sign-in",
    "desk": "at the desk",
    "terminal": "in a terminal",
    "page": "on a card's page",
}

_ROW = f"SELECT * FROM passphrase_tries WHERE {PLACE_COLUMN} = ?"  # noqa: S608 - constants only
_BEGUN = (
    f"REPLACE INTO passphrase_tries ({PLACE_COLUMN}, wrong, last_at, checking, recent, since)"  # noqa: S608
    " VALUES (?, ?, ?, 1, ?, ?)"
)
_MOVED = f"UPDATE passphrase_tries SET last_at = ?, checking = 0 WHERE {PLACE_COLUMN} = ?"  # noqa: S608
_WRONG = f"UPDATE passphrase_tries SET checking = 0 WHERE {PLACE_COLUMN} = ?"  # noqa: S608
_RIGHT = (
    "UPDATE passphrase_tries SET wrong = 0, checking = 0, recent = recent - 1"  # noqa: S608
    f" WHERE {PLACE_COLUMN} = ?"
)
_ALARMS = (
    f"SELECT {PLACE_COLUMN}, recent, since, last_at FROM passphrase_tries"  # noqa: S608
    f" WHERE recent >= ? AND last_at > ? ORDER BY {PLACE_COLUMN}"
)


@dataclass(frozen=True, slots=True)
class WrongTries:
    """The wrong tries of one place. Times are seconds since the epoch."""

    place: PassphrasePlace
    count: int
    since: float
    last_at: float


class PassphraseTries:
    """The tries of one state folder. After 1, 2, 3 … wrong ones in a row, the next waits 1, 2, 4 … 60 seconds."""

    def __init__(self, audited: AuditedStore) -> None:
        self._store, self._record, self._clock = audited.store, audited.record, audited.clock

    async def begin(self, place: PassphrasePlace) -> float:
        """Return 0 if a passphrase may be checked now, else the seconds until one may.

        The try counts as wrong until `end`, so that a crash, or another process that asks meanwhile, gains nothing.

        Raises:
            StoreUnavailable: The try can't be counted, so nothing may be checked.
        """
        with anyio.move_on_after(CHECK_SECONDS):
            while True:
                wait = await self._store.run(lambda db: self._begin(db, place))
                if wait is not None:
                    return wait
                await anyio.sleep(_POLL_SECONDS)
        return 1.0

    async def end(self, place: PassphrasePlace, *, right: bool) -> float:
        """Record the result of the try that began. Return the seconds until the next one.

        Raises:
            StoreUnavailable: It can't be recorded. The try counts as wrong.
        """
        return await self._store.run(lambda db: self._end(db, place, right))

    async def wait(self, place: PassphrasePlace) -> float:
        """Return the seconds until a passphrase may be checked; 0 if it may be now."""
        return await self._store.read(lambda db: _wait(_row(db, place), self._clock()))

    async def explain(self, decision: Decision, place: PassphrasePlace) -> str:
        """Return the message for a decision. After a wrong passphrase, it says when the next one is checked."""
        wait = ceil(await self.wait(place)) if decision in ("wrong", "delayed") else 0
        hint = f" Try again in {wait} second{'s' if wait > 1 else ''}." if wait else ""
        return MESSAGES[decision] + hint

    async def alarms(self) -> list[WrongTries]:
        """Return the wrong tries of each place with five or more, until a day after the last one."""

        return await self._store.read(lambda db: wrong_tries(db, self._clock()))

    def _begin(self, db: sqlite3.Connection, place: PassphrasePlace) -> float | None:
        """Count a try. Return the seconds to wait instead, or None if another process is checking one."""
        now, row = self._clock(), _row(db, place)
        if row is not None and row["last_at"] > now:
            # The clock was set back. The delay begins anew, so that it ends.
            db.execute(_MOVED, (now, place))
            row = _row(db, place)
        if row is not None and row["checking"] and now < row["last_at"] + CHECK_SECONDS:
            return None
        wait = _wait(row, now)
        if wait > 0:
            return wait
        wrong = 0 if row is None or now >= row["last_at"] + FORGET_SECONDS else row["wrong"]
        recent, since = (row["recent"], row["since"]) if row is not None else (0, now)
        if now >= since + ALARM_SECONDS:
            recent, since = 0, now
        db.execute(_BEGUN, (place, wrong + 1, now, recent + 1, since))
        return 0.0

    def _end(self, db: sqlite3.Connection, place: PassphrasePlace, right: bool) -> float:
        if right:
            db.execute(_RIGHT, (place,))
            return 0.0
        db.execute(_WRONG, (place,))
        by, row = _CHANNELS[place], _row(db, place)
        self._record(db, AuditEntry(kind="decision", verdict="wrong", code="passphrase", by=by))
        if row is not None and row["wrong"] == ALARM_TRIES:
            self._record(db, AuditEntry(kind="alarm", code="passphrase.wrong_tries", by=by))
        return _wait(row, self._clock())


def _row(db: sqlite3.Connection, place: PassphrasePlace) -> sqlite3.Row | None:
    found: sqlite3.Row | None = db.execute(_ROW, (place,)).fetchone()
    return found


def _wait(row: sqlite3.Row | None, now: float) -> float:
    if row is None or row["wrong"] == 0:
        return 0.0
    delay = min(MAX_DELAY_SECONDS, 2 ** min(row["wrong"] - 1, 6))
    return float(min(delay, max(0.0, row["last_at"] + delay - now)))


def format_alarm(found: WrongTries) -> str:
    """Return an alarm as sentences for a person."""
    since, last = moment(found.since), moment(found.last_at)
    typed = f"{found.count} wrong passphrases were typed {_PHRASES[found.place]}"
    count = f"{typed} since {since} UTC, the last at {last[11:]}."
    return f"{count} If you did not type them, find out which program or user of this machine did."


def wrong_tries(db: sqlite3.Connection, now: float) -> list[WrongTries]:
    """Return the wrong tries of each place with five or more, until a day after the last one."""
    return [WrongTries(*row) for row in db.execute(_ALARMS, (ALARM_TRIES, now - ALARM_SECONDS))]

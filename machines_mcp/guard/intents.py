"""Intents: what a person is asked, and what became of it.

    waiting -> granted <-> executing -> done | failed
            -> refused

An id is a reference, never authority: only a grant recorded here lets a call run, once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from machines_mcp.guard.stakes import Stakes

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.guard.effect import Effect
    from machines_mcp.guard.store import Store

OPEN_SECONDS = 15 * 60
GRANT_SECONDS = 5 * 60
EXECUTION_SECONDS = 90.0

State = Literal["waiting", "granted", "executing", "done", "failed", "refused"]
Decider = Literal["dialog", "terminal", "operator"]


@dataclass(frozen=True, slots=True)
class Intent:
    """One row: who would do what, how the person was asked, and how far it went."""

    id: str
    tool: str
    effect: str
    user_id: str
    digest: str
    question: str
    state: State
    created_at: float
    expires_at: float
    decided_by: str | None
    outcome: str | None
    asked_by: str
    policy: str
    stakes: Stakes
    amount_cents: int | None
    card_id: str | None
    decided_at: float | None
    began_at: float | None = None


def arguments_digest(key: bytes, arguments: Mapping[str, Any]) -> str:
    """HMAC-SHA-256 over the canonical JSON of validated arguments: equal calls have equal digests.

    Keyed, because arguments may be identity data, and a plain hash of few values can be guessed back.
    """
    canonical = json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key, canonical.encode(), hashlib.sha256).hexdigest()


class Intents:
    """The intents of one state folder. Times are seconds since the epoch by `clock`."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._abandoned: set[str] = set()

    async def open(self, tool: str, effect: Effect, user_id: str, digest: str, question: str) -> Intent:
        """The waiting intent for this call: the one that waits already, or a new one, open for 15 minutes."""
        now = self._clock()
        fresh = (secrets.token_hex(16), tool, effect.value, user_id, digest, question, now, now + OPEN_SECONDS)

        def work(db: sqlite3.Connection) -> Intent:
            row = db.execute(
                "SELECT * FROM intents WHERE state = 'waiting' AND expires_at > ? AND tool = ? AND user_id = ?"
                " AND digest = ? AND question = ?",
                (now, tool, user_id, digest, question),
            ).fetchone()
            if row is None:
                db.execute(
                    "INSERT INTO intents (id, tool, effect, user_id, digest, question, state, created_at, expires_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, 'waiting', ?, ?)",
                    fresh,
                )
                row = db.execute("SELECT * FROM intents WHERE id = ?", fresh[:1]).fetchone()
            return _intent(row)

        return await self._store.run(work)

    async def get(self, intent_id: str) -> Intent | None:
        """The intent with this id, or None."""

        def work(db: sqlite3.Connection) -> Intent | None:
            row = db.execute("SELECT * FROM intents WHERE id = ?", (intent_id,)).fetchone()
            return None if row is None else _intent(row)

        return await self._store.read(work)

    async def waiting(self) -> list[Intent]:
        """The intents that a person can still decide, oldest first."""
        now = self._clock()
        return await self._store.read(lambda db: waiting_intents(db, now))

    async def grant(self, intent_id: str, by: Decider) -> bool:
        """Record a person's yes, good for 5 minutes. False unless the intent still waits."""
        now = self._clock()
        return await self._move(
            "UPDATE intents SET state = 'granted', decided_by = ?, expires_at = ?"
            " WHERE id = ? AND state = 'waiting' AND expires_at > ?",
            (by, now + GRANT_SECONDS, intent_id, now),
        )

    async def refuse(self, intent_id: str, by: Decider) -> bool:
        """Record a person's no. False unless the intent still waits."""
        return await self._move(
            "UPDATE intents SET state = 'refused', decided_by = ? WHERE id = ? AND state = 'waiting'", (by, intent_id)
        )

    async def consume(self, intent: Intent) -> bool:
        """Take the grant for one execution. One statement decides: of many callers one gets True."""
        now = self._clock()
        return await self._move(
            "UPDATE intents SET state = 'executing', began_at = ?"
            " WHERE id = ? AND state = 'granted' AND expires_at > ? AND digest = ? AND user_id = ?",
            (now, intent.id, now, intent.digest, intent.user_id),
        )

    async def give_back(self, intent_id: str) -> None:
        """Undo `consume` where nothing was begun: the grant is good again for what is left of its 5 minutes."""
        await self._move("UPDATE intents SET state = 'granted' WHERE id = ? AND state = 'executing'", (intent_id,))

    async def finish(self, intent_id: str, outcome: str, *, ok: bool) -> None:
        """Keep the first answer (JSON), to be given again to a repeated call."""
        await self._move(
            "UPDATE intents SET state = ?, outcome = ? WHERE id = ? AND state = 'executing'",
            ("done" if ok else "failed", outcome, intent_id),
        )

    def abandon(self, intent_id: str) -> None:
        """An execution in this process has ended, and nobody can say how: the row stays as it is."""
        self._abandoned.add(intent_id)

    def running(self, intent: Intent) -> bool:
        """Whether an `executing` intent may still come to its end, here or in another process."""
        age = self._clock() - (intent.began_at or intent.created_at)
        return intent.id not in self._abandoned and age <= EXECUTION_SECONDS

    async def _move(self, statement: str, values: tuple[object, ...]) -> bool:
        return await self._store.run(lambda db: db.execute(statement, values).rowcount == 1)

    def expired(self, intent: Intent) -> bool:
        """Whether the time to decide, or to use the grant, has passed."""
        return intent.state in ("waiting", "granted") and intent.expires_at <= self._clock()


def waiting_intents(db: sqlite3.Connection, now: float) -> list[Intent]:
    """What `Intents.waiting` reads, for a transaction that reads more."""
    rows = db.execute("SELECT * FROM intents WHERE state = 'waiting' AND expires_at > ? ORDER BY created_at", (now,))
    return [_intent(row) for row in rows]


def executing_intents(db: sqlite3.Connection) -> list[Intent]:
    """Those that were begun and have no outcome, oldest first."""
    return [_intent(row) for row in db.execute("SELECT * FROM intents WHERE state = 'executing' ORDER BY began_at")]


def _intent(row: sqlite3.Row) -> Intent:
    values = dict(row)
    return Intent(**values | {"stakes": Stakes.from_json(values["stakes"])})

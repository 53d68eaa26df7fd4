"""Intents: what a person is asked, and what became of it.

    waiting -> granted <-> executing -> done | failed
            -> refused

An id is a reference, never authority: only a grant recorded here lets a call run, once. Each change of a row and its
line in the audit are one transaction: where the one can't be written, the other is not.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from machines_mcp.guard.audit import Entry, Kind
from machines_mcp.guard.effect import Effect
from machines_mcp.guard.stakes import Demand, Stakes, Way

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.guard.store import Store

    Limit: TypeAlias = Callable[[sqlite3.Connection, Demand, Stakes, float, str | None], str | None]

OPEN_SECONDS = 15 * 60
GRANT_SECONDS = 5 * 60
EXECUTION_SECONDS = 90.0

State = Literal["waiting", "granted", "executing", "done", "failed", "refused"]

REFUSALS_THAT_PAUSE = 3
REFUSALS_WITHIN_SECONDS = 10 * 60
PAUSE_SECONDS = 15 * 60


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


class Barred(Exception):
    """Limits or a pause don't let the call be asked or run. `code` names the limit by its path in the policy.

    `until`, in seconds since the epoch, is when a pause ends.
    """

    def __init__(self, code: str, until: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.until = until


class Intents:
    """The intents of one state folder. Times are seconds since the epoch by `clock`.

    `record` writes a line of the audit and `limit` names the limit that a call would break, both inside the
    transaction that they are called in.
    """

    def __init__(
        self,
        store: Store,
        record: Callable[[sqlite3.Connection, Entry], None],
        limit: Limit,
        *,
        policy_digest: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._record = record
        self._limit = limit
        self._policy_digest = policy_digest
        self._clock = clock
        self._abandoned: set[str] = set()

    async def open(self, demand: Demand, stakes: Stakes) -> Intent:
        """The waiting intent for this call: the one that waits already, or a new one, open for 15 minutes.

        Raises:
            Barred: A limit of the policy forbids it, or the tool is paused after three refusals in ten minutes.
        """
        now = self._clock()

        def work(db: sqlite3.Connection) -> Intent:
            return self._waiting_twin(db, demand, stakes, now) or self._insert(db, demand, stakes, now)

        return await self._store.run(work)

    def _waiting_twin(self, db: sqlite3.Connection, demand: Demand, stakes: Stakes, now: float) -> Intent | None:
        row = db.execute(
            "SELECT * FROM intents WHERE state = 'waiting' AND expires_at > ? AND tool = ? AND user_id = ?"
            " AND digest = ? AND stakes = ? AND policy = ?",
            (now, demand.tool, demand.user_id, demand.digest, stakes.as_json(), self._policy_digest),
        ).fetchone()
        return None if row is None else _intent(row)

    def _insert(self, db: sqlite3.Connection, demand: Demand, stakes: Stakes, now: float) -> Intent:
        _refuse_paused(db, demand.tool, now)
        self._refuse_over_limit(db, demand, stakes, now)
        values = {
            "id": secrets.token_hex(16),
            "tool": demand.tool,
            "effect": demand.effect.value,
            "user_id": demand.user_id,
            "digest": demand.digest,
            "question": stakes.question,
            "state": "waiting",
            "created_at": now,
            "expires_at": now + OPEN_SECONDS,
            "asked_by": demand.asked_by,
            "policy": self._policy_digest,
            "stakes": stakes.as_json(),
            "amount_cents": stakes.amount_cents,
            "card_id": stakes.card_id,
        }
        names, places = ", ".join(values), ", ".join("?" * len(values))
        db.execute(f"INSERT INTO intents ({names}) VALUES ({places})", tuple(values.values()))  # noqa: S608 (ours)
        intent = _find(db, str(values["id"]))
        if intent is None:  # it was written one line above
            raise AssertionError
        self._record(db, _entry("asked", intent))
        return intent

    def _refuse_over_limit(
        self, db: sqlite3.Connection, demand: Demand, stakes: Stakes, now: float, own: str | None = None
    ) -> None:
        broken = self._limit(db, demand, stakes, now, own)
        if broken is not None:
            raise Barred(broken)

    async def admit(self, demand: Demand) -> None:
        """Count and record a call that needs no intent, before it runs.

        Raises:
            Barred: A limit of the policy forbids it.
        """
        now = self._clock()
        entry = Entry(
            kind="call",
            tool=demand.tool,
            effect=demand.effect.value,
            user_id=demand.user_id or None,
            verdict="executing",
        )

        def work(db: sqlite3.Connection) -> None:
            self._refuse_over_limit(db, demand, Stakes(question=""), now)
            self._record(db, entry)

        await self._store.run(work)

    async def get(self, intent_id: str) -> Intent | None:
        """The intent with this id, or None."""
        return await self._store.read(lambda db: _find(db, intent_id))

    async def recent(self, limit: int) -> list[Intent]:
        """The newest intents of any state, the newest first."""

        def work(db: sqlite3.Connection) -> list[Intent]:
            rows = db.execute("SELECT * FROM intents ORDER BY created_at DESC, id LIMIT ?", (limit,))
            return [_intent(row) for row in rows]

        return await self._store.read(work)

    async def waiting(self) -> list[Intent]:
        """The intents that a person can still decide, oldest first."""
        now = self._clock()
        return await self._store.read(lambda db: waiting_intents(db, now))

    async def grant(self, intent_id: str, by: Way) -> bool:
        """Record a person's yes, good for 5 minutes. False unless the intent still waits."""
        return await self._store.run(lambda db: self._grant(db, intent_id, by))

    async def refuse(self, intent_id: str, by: Way) -> bool:
        """Record a person's no. False unless the intent still waits."""
        now = self._clock()

        def work(db: sqlite3.Connection) -> bool:
            moved = _one(
                db,
                "UPDATE intents SET state = 'refused', decided_by = ?, decided_at = ?"
                " WHERE id = ? AND state = 'waiting'",
                (by, now, intent_id),
            )
            return moved and self._told(db, "decision", intent_id, "refused")

        return await self._store.run(work)

    async def consume(self, intent: Intent) -> bool:
        """Take the grant for one execution. One statement decides: of many callers one gets True.

        Raises:
            Barred: A limit that was kept when the person was asked would be broken now.
        """
        return await self._store.run(lambda db: self._consume(db, intent))

    async def take(self, intent: Intent, by: Way) -> bool:
        """Grant and consume in one transaction, for a page that runs what it was granted itself.

        Raises:
            Barred: As for `consume`; nothing is granted then.
        """
        return await self._store.run(lambda db: self._grant(db, intent.id, by) and self._consume(db, intent))

    async def give_back(self, intent_id: str) -> None:
        """Undo `consume` where nothing was begun: the grant is good again for what is left of its 5 minutes."""

        def work(db: sqlite3.Connection) -> None:
            undo = "UPDATE intents SET state = 'granted' WHERE id = ? AND state = 'executing'"
            if _one(db, undo, (intent_id,)):
                self._told(db, "outcome", intent_id, "not_begun")

        await self._store.run(work)

    async def finish(self, intent_id: str, outcome: str, *, ok: bool, code: str) -> None:
        """Keep the first answer (JSON), to be given again to a repeated call. `code` is ok or the refusal's."""

        def work(db: sqlite3.Connection) -> None:
            state = "done" if ok else "failed"
            end = "UPDATE intents SET state = ?, outcome = ? WHERE id = ? AND state = 'executing'"
            if _one(db, end, (state, outcome, intent_id)):
                self._told(db, "outcome", intent_id, state, code)

        await self._store.run(work)

    def _grant(self, db: sqlite3.Connection, intent_id: str, by: Way) -> bool:
        now = self._clock()
        moved = _one(
            db,
            "UPDATE intents SET state = 'granted', decided_by = ?, decided_at = ?, expires_at = ?"
            " WHERE id = ? AND state = 'waiting' AND expires_at > ?",
            (by, now, now + GRANT_SECONDS, intent_id, now),
        )
        return moved and self._told(db, "decision", intent_id, "granted")

    def _consume(self, db: sqlite3.Connection, intent: Intent) -> bool:
        now = self._clock()
        moved = _one(
            db,
            "UPDATE intents SET state = 'executing', began_at = ?"
            " WHERE id = ? AND state = 'granted' AND expires_at > ? AND digest = ? AND user_id = ? AND policy = ?",
            (now, intent.id, now, intent.digest, intent.user_id, self._policy_digest),
        )
        if moved:
            demand = Demand(intent.tool, Effect(intent.effect), intent.user_id, intent.digest, intent.asked_by)
            # Raising takes the whole transaction back.
            self._refuse_over_limit(db, demand, intent.stakes, now, own=intent.id)
            self._told(db, "call", intent.id, "executing")
        return moved

    def _told(self, db: sqlite3.Connection, kind: Kind, intent_id: str, verdict: str, code: str | None = None) -> bool:
        intent = _find(db, intent_id)
        if intent is not None:
            self._record(db, _entry(kind, intent, verdict, code))
        return True

    def abandon(self, intent_id: str) -> None:
        """An execution in this process has ended, and nobody can say how: the row stays as it is."""
        self._abandoned.add(intent_id)

    def running(self, intent: Intent) -> bool:
        """Whether an `executing` intent may still come to its end, here or in another process."""
        age = self._clock() - (intent.began_at or intent.created_at)
        return intent.id not in self._abandoned and age <= EXECUTION_SECONDS

    def expired(self, intent: Intent) -> bool:
        """Whether the time to decide, or to use the grant, has passed; another policy than it was judged by ends it."""
        late = intent.expires_at <= self._clock() or intent.policy != self._policy_digest
        return intent.state in ("waiting", "granted") and late


def waiting_intents(db: sqlite3.Connection, now: float) -> list[Intent]:
    """What `Intents.waiting` reads, for a transaction that reads more."""
    rows = db.execute("SELECT * FROM intents WHERE state = 'waiting' AND expires_at > ? ORDER BY created_at", (now,))
    return [_intent(row) for row in rows]


def executing_intents(db: sqlite3.Connection) -> list[Intent]:
    """Those that were begun and have no outcome, oldest first."""
    return [_intent(row) for row in db.execute("SELECT * FROM intents WHERE state = 'executing' ORDER BY began_at")]


def _refuse_paused(db: sqlite3.Connection, tool: str, now: float) -> None:
    """After three refusals within ten minutes nobody is asked for 15 minutes: a person is not to be tired."""
    rows = db.execute(
        "SELECT decided_at FROM intents WHERE tool = ? AND state = 'refused' AND decided_at > ?"
        " ORDER BY decided_at DESC",
        (tool, now - PAUSE_SECONDS - REFUSALS_WITHIN_SECONDS),
    )
    times = [float(row[0]) for row in rows]
    for last, first in zip(times, times[REFUSALS_THAT_PAUSE - 1 :], strict=False):
        if last - first <= REFUSALS_WITHIN_SECONDS and now < last + PAUSE_SECONDS:
            raise Barred("paused", last + PAUSE_SECONDS)


def _one(db: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> bool:
    return db.execute(statement, values).rowcount == 1


def _find(db: sqlite3.Connection, intent_id: str) -> Intent | None:
    row = db.execute("SELECT * FROM intents WHERE id = ?", (intent_id,)).fetchone()
    return None if row is None else _intent(row)


def _entry(kind: Kind, intent: Intent, verdict: str | None = None, code: str | None = None) -> Entry:
    return Entry(
        kind=kind,
        tool=intent.tool,
        effect=intent.effect,
        user_id=intent.user_id,
        intent_id=intent.id,
        verdict=verdict,
        code=code,
        by=intent.decided_by,
        sink=intent.stakes.sink,
        card_id=intent.card_id,
        amount_cents=intent.amount_cents,
    )


def _intent(row: sqlite3.Row) -> Intent:
    values = dict(row)
    return Intent(**values | {"stakes": Stakes.from_json(values["stakes"])})

"""An intent: one row of what a person is asked, and how rows are found and moved. `Intents` is the collection.

    waiting -> granted <-> executing -> done | failed
            -> refused

Functions that take `db` run inside their caller's transaction.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from machines_mcp.permissions.approval_details import Demand, Stakes
from machines_mcp.storage.audit_log import Entry, Kind

if TYPE_CHECKING:
    import sqlite3

State = Literal["waiting", "granted", "executing", "done", "failed", "refused"]


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
    owner: str | None = None
    """The process that took the grant; empty once it gave up, None where it was taken before there was a journal."""

    @property
    def idempotency_key(self) -> str:
        """The key of everything that this intent does at the API."""
        return f"machines-{self.id}"

    @property
    def dialog(self) -> str:
        """What the client's own dialog shows: the question, what is remarkable about the facts in it, and who asked."""
        notes = [f"{fact.label}: {fact.note}." for fact in self.stakes.facts if fact.note]
        who = f"“{self.asked_by}” (as it calls itself)" if self.asked_by else "a program that gave no name"
        return "\n".join([self.question, *notes, f"Asked by {who}."])


_COLUMNS = tuple(field.name for field in fields(Intent))


def arguments_digest(key: bytes, arguments: Mapping[str, Any]) -> str:
    """HMAC-SHA-256 over the canonical JSON of validated arguments: equal calls have equal digests.

    Keyed, because arguments may be identity data, and a plain hash of few values can be guessed back.
    """
    canonical = json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key, canonical.encode(), hashlib.sha256).hexdigest()


def waiting_intents(db: sqlite3.Connection, now: float) -> list[Intent]:
    """What `Intents.waiting` reads, for a transaction that reads more."""
    rows = db.execute("SELECT * FROM intents WHERE state = 'waiting' AND expires_at > ? ORDER BY created_at", (now,))
    return [_intent(row) for row in rows]


def executing_intents(db: sqlite3.Connection) -> list[Intent]:
    """Those that were begun and have no outcome, oldest first."""
    return [_intent(row) for row in db.execute("SELECT * FROM intents WHERE state = 'executing' ORDER BY began_at")]


def newest_intents(db: sqlite3.Connection, limit: int) -> list[Intent]:
    """At most `limit` of any state, the newest first."""
    rows = db.execute("SELECT * FROM intents ORDER BY created_at DESC, id LIMIT ?", (limit,))
    return [_intent(row) for row in rows]


def find(db: sqlite3.Connection, intent_id: str) -> Intent | None:
    """The intent with this id, or None."""
    row = db.execute("SELECT * FROM intents WHERE id = ?", (intent_id,)).fetchone()
    return None if row is None else _intent(row)


def waiting_twin(db: sqlite3.Connection, demand: Demand, stakes: Stakes, policy: str, now: float) -> Intent | None:
    """The intent of an equal call, with equal stakes and under the same policy, that waits already."""
    row = db.execute(
        "SELECT * FROM intents WHERE state = 'waiting' AND expires_at > ? AND tool = ? AND user_id = ?"
        " AND digest = ? AND stakes = ? AND policy = ?",
        (now, demand.tool, demand.user_id, demand.digest, stakes.as_json(), policy),
    ).fetchone()
    return None if row is None else _intent(row)


def insert(
    db: sqlite3.Connection, demand: Demand, stakes: Stakes, policy: str, now: float, expires_at: float
) -> Intent:
    """A new row that waits, under a new id of 128 bits of chance."""
    intent = Intent(
        id=secrets.token_hex(16),
        tool=demand.tool,
        effect=demand.effect.value,
        user_id=demand.user_id,
        digest=demand.digest,
        question=stakes.question,
        state="waiting",
        created_at=now,
        expires_at=expires_at,
        decided_by=None,
        outcome=None,
        asked_by=demand.asked_by,
        policy=policy,
        stakes=stakes,
        amount_cents=stakes.amount_cents,
        card_id=stakes.card_id,
        decided_at=None,
    )
    values = {name: getattr(intent, name) for name in _COLUMNS} | {"stakes": stakes.as_json()}
    names, places = ", ".join(values), ", ".join("?" * len(values))
    db.execute(f"INSERT INTO intents ({names}) VALUES ({places})", tuple(values.values()))  # noqa: S608 - our names
    return intent


def moved(db: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> bool:
    """Whether the statement changed its one row."""
    return db.execute(statement, values).rowcount == 1


def entry(kind: Kind, intent: Intent, verdict: str | None = None, code: str | None = None) -> Entry:
    """The audit's line for what became of an intent."""
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

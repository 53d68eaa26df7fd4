"""One row of the journal: a change that is asked of the API, how far it came, and what of it may be stored."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import sqlite3

State = Literal["pending", "done", "rejected", "unknown", "unsent", "manual"]
NOTHING_HAPPENED = ("rejected", "unsent")


@dataclass(slots=True)
class CallContext:
    """What this task is about: the intent, if any, the tool, its user. `begun` counts the mutations of it so far.

    `only_look`: it may send none.
    """

    approval_id: str | None
    tool: str
    user_id: str
    read_only: bool = False
    mutations: int = 0


call_context: ContextVar[CallContext | None] = ContextVar("doing", default=None)


class PendingMutation(Protocol):
    """A mutation before it is sent, as `machines_mcp.partner.mutation_log.Mutation` is one."""

    @property
    def user_id(self) -> str | None: ...
    @property
    def operation(self) -> str: ...
    @property
    def idempotency_key(self) -> str | None: ...
    @property
    def body(self) -> bytes | None: ...
    @property
    def keep_body(self) -> bool: ...
    @property
    def ids(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One mutation. Times are seconds since the epoch.

    `sent_at` is the first attempt that may have arrived, `last_sent_at` the newest, `body` the JSON that went out where
    it may be kept, `reference` the id of what was made. `settled_by` says who closed it where its answer did not,
    `note` why a person must look.
    """

    id: str
    approval_id: str | None
    tool: str
    user_id: str
    operation: str
    idempotency_key: str | None
    body_hash: str
    body: str | None
    ids: Mapping[str, str]
    attempts: int
    state: State
    reference: str | None
    status: int | None
    owner: str
    created_at: float
    sent_at: float
    last_sent_at: float
    ended_at: float | None
    settled_by: str | None = None
    note: str | None = None

    @property
    def may_have_happened(self) -> bool:
        """False where it is known that nothing came of it."""
        return self.state not in NOTHING_HAPPENED


# What nobody has an answer for. The owners of those that are pending are looked at one by one.
OPEN = "state IN ('pending', 'unknown', 'manual') AND settled_by IS NULL"
_COLUMNS = tuple(field.name for field in fields(JournalEntry))


def insert(
    db: sqlite3.Connection,
    mutation: PendingMutation,
    about: CallContext | None,
    *,
    body_hash: str,
    owner: str,
    now: float,
) -> JournalEntry:
    """A new row, about to be sent."""
    entry = JournalEntry(
        id=secrets.token_hex(16),
        approval_id=about.approval_id if about else None,
        tool=about.tool if about else "",
        user_id=mutation.user_id or (about.user_id if about else ""),
        operation=mutation.operation,
        idempotency_key=mutation.idempotency_key,
        body_hash=body_hash,
        body=kept_body(mutation),
        ids=dict(mutation.ids),
        attempts=1,
        state="pending",
        reference=None,
        status=None,
        owner=owner,
        created_at=now,
        sent_at=now,
        last_sent_at=now,
        ended_at=None,
    )
    values = {name: getattr(entry, name) for name in _COLUMNS} | {"ids": json.dumps(entry.ids)}
    names, places = ", ".join(values), ", ".join("?" * len(values))
    db.execute(f"INSERT INTO mutations ({names}) VALUES ({places})", tuple(values.values()))  # noqa: S608 - our names
    return entry


def selected(db: sqlite3.Connection, where: str, *values: str) -> list[JournalEntry]:
    """The rows that fit, oldest first."""
    query = f"SELECT * FROM mutations WHERE {where} ORDER BY created_at, rowid"  # noqa: S608 - the callers' own words
    return [_entry(row) for row in db.execute(query, values)]


def has_open_work(db: sqlite3.Connection) -> bool:
    """Whether there is any mutation or any taken intent without an outcome, be it that someone is at work on it."""
    found = db.execute(
        f"SELECT EXISTS (SELECT 1 FROM mutations WHERE {OPEN}) OR"  # noqa: S608 - our own words
        " EXISTS (SELECT 1 FROM approvals WHERE state = 'executing')"
    )
    return bool(found.fetchone()[0])


def request_hash(key: bytes, mutation: PendingMutation) -> str:
    """What tells one mutation from another; keyed, because identity data could be guessed back from a plain hash."""
    about = json.dumps([mutation.operation, mutation.user_id, sorted(mutation.ids.items())])
    return hmac.digest(key, about.encode() + b"\0" + (mutation.body or b""), "sha256").hex()


def kept_body(mutation: PendingMutation) -> str | None:
    """The body as it may be stored."""
    return mutation.body.decode() if mutation.keep_body and mutation.body is not None else None


def _entry(row: sqlite3.Row) -> JournalEntry:
    values: dict[str, Any] = dict(row)
    return JournalEntry(**values | {"ids": json.loads(values["ids"])})

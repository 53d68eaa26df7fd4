"""One row of the journal: a mutation sent to the API, its progress, and the parts of it that may be stored."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from machines_mcp.storage.migrations.stored_names import NEEDS_PERSON, NeedsPersonState
from machines_mcp.storage.principal import OF_PRINCIPAL, Principal

if TYPE_CHECKING:
    import sqlite3

State: TypeAlias = Literal["pending", "done", "rejected", "unknown", "unsent"] | NeedsPersonState
NOTHING_HAPPENED = ("rejected", "unsent")


@dataclass(frozen=True, slots=True)
class CallContext:
    """The call that sends mutations: its approval (if any), tool and user. `begun` lists its journal entries so far.

    `read_only`: the call must not send any. `protective`: the call only protects, so no freeze stops it.
    `before_status` is that of the card that the call locks, if it is known.
    """

    approval_id: str | None
    tool: str
    user_id: str
    read_only: bool = False
    protective: bool = False
    before_status: str | None = None
    begun: list[str] = field(default_factory=list)


class PendingMutation(Protocol):
    """A mutation before it is sent, such as `machines_mcp.partner.mutation_log.Mutation`."""

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
    """One mutation. Times are epoch seconds.

    `sent_at` is the first attempt that may have arrived, `last_sent_at` the newest one. `body` is the JSON sent, if it
    may be stored, and `reference` the id of the created resource. `settled_by` says who closed the entry if its
    response did not. `note` says why a person must check. `before_status` is the status of a card before it was locked,
    if it could be read, and `undone_by` the approval that unlocked it from the list of locked cards.
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
    before_status: str | None = None
    undone_by: str | None = None

    @property
    def may_have_happened(self) -> bool:
        """False if the mutation is known to have had no effect."""
        return self.state not in NOTHING_HAPPENED


# Rows without a known outcome. The owner of a pending row shows whether it is still in progress.
OPEN = f"state IN ('pending', 'unknown', '{NEEDS_PERSON}') AND settled_by IS NULL"
_COLUMNS = tuple(each.name for each in fields(JournalEntry))


def insert(
    db: sqlite3.Connection,
    mutation: PendingMutation,
    about: CallContext | None,
    *,
    body_hash: str,
    owner: str,
    now: float,
) -> JournalEntry:
    """Insert a `pending` row for a mutation that is about to be sent."""
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
        before_status=about.before_status if about else None,
    )
    values = {name: getattr(entry, name) for name in _COLUMNS} | {"ids": json.dumps(entry.ids)}
    names, places = ", ".join(values), ", ".join("?" * len(values))
    db.execute(f"INSERT INTO mutations ({names}) VALUES ({places})", tuple(values.values()))  # noqa: S608 - constants
    return entry


def selected(db: sqlite3.Connection, where: str, *values: str | float) -> list[JournalEntry]:
    """Return the matching rows, oldest first."""
    query = f"SELECT * FROM mutations WHERE {where} ORDER BY created_at, rowid"  # noqa: S608 - callers pass constants
    return [_entry(row) for row in db.execute(query, values)]


def has_open_work(db: sqlite3.Connection, principal: Principal) -> bool:
    """Whether any mutation or executing approval of its users has no outcome yet, even if still in progress.

    Or whether identity data of any user waits to be erased.
    """
    found = db.execute(
        f"SELECT EXISTS (SELECT 1 FROM mutations WHERE {OPEN} AND {OF_PRINCIPAL}) OR"  # noqa: S608 - constants only
        f" EXISTS (SELECT 1 FROM approvals WHERE state = 'executing' AND {OF_PRINCIPAL}) OR"
        " EXISTS (SELECT 1 FROM approvals WHERE sealed IS NOT NULL)",
        principal.bound,
    )
    return bool(found.fetchone()[0])


def request_hash(key: bytes, mutation: PendingMutation) -> str:
    """Return a keyed hash that identifies the mutation. A plain hash would allow identity data to be guessed."""
    about = json.dumps([mutation.operation, mutation.user_id, sorted(mutation.ids.items())])
    return hmac.digest(key, about.encode() + b"\0" + (mutation.body or b""), "sha256").hex()


def kept_body(mutation: PendingMutation) -> str | None:
    """Return the body if it may be stored, else None."""
    return mutation.body.decode() if mutation.keep_body and mutation.body is not None else None


def _entry(row: sqlite3.Row) -> JournalEntry:
    values: dict[str, Any] = dict(row)
    return JournalEntry(**values | {"ids": json.loads(values["ids"])})

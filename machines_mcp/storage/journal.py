"""The journal: every mutation sent to the API, written to disk before its first byte is sent, and its outcome.

    pending -> done | rejected | unsent
            -> unknown -> done | rejected | manual (a person must resolve it)

A `pending` row whose process is gone counts as `unknown`. `unsent` and `rejected` mean that nothing happened.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio

from machines_mcp.storage.concurrent_requests import (
    ConcurrentRequests,
    concurrent_changes,
    concurrent_requests,
    same_request_before,
)
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.failpoints import failpoint
from machines_mcp.storage.freeze import refuse_if_frozen
from machines_mcp.storage.journal_entry import (
    OPEN,
    CallContext,
    JournalEntry,
    PendingMutation,
    State,
    insert,
    kept_body,
    request_hash,
    selected,
)
from machines_mcp.storage.migrations.stored_names import NEEDS_PERSON, NeedsPersonState

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store
    from machines_mcp.storage.principal import Principal
    from machines_mcp.storage.process_locks import ProcessLocks

__all__ = ["CallContext", "CallLog", "Journal", "JournalEntry", "KeyReused", "ReadOnly", "State"]

logger = logging.getLogger(__name__)

Outcome: TypeAlias = Literal["done", "rejected", "unknown", "unsent"]


class KeyReused(Exception):
    """This idempotency key was used for another mutation, which may have happened."""


class ReadOnly(Exception):
    """The call is read-only and must not send a mutation."""


class Journal:
    """The mutations of one state folder. `key` keys the hashes of the bodies.

    As a client's `MutationLog`, it records mutations of no call. A `CallLog` records those of one.
    """

    def __init__(
        self,
        store: Store,
        key: bytes,
        locks: ProcessLocks,
        principal: Principal,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._principal = principal
        self._key = key
        self._locks = locks
        self._clock = clock
        self._lost: set[str] = set()
        """Mutations that ended in this process but whose outcome could not be written, so their rows are `pending`."""
        self._sent: dict[str, tuple[int, float]] = {}
        """The attempt number of each unanswered mutation, and when this process sent it or first saw it, on the
        monotonic clock."""

    async def begin(self, mutation: PendingMutation, about: CallContext | None = None) -> str:
        """Record a mutation, sent by the call `about`, before it is sent. Return its id.

        Raises:
            StoreUnavailable: It can't be recorded, so it must not be sent.
            KeyReused: Its key was used for another mutation, which may have happened.
            ReadOnly: The call must not send mutations.
            Frozen: The changes of its user are frozen.
        """
        if about is not None and about.read_only:
            raise ReadOnly
        now = self._clock()

        def work(db: sqlite3.Connection) -> tuple[str, int]:
            if about is None or not about.protective:
                refuse_if_frozen(db, mutation.user_id or (about.user_id if about else ""))
            body_hash = request_hash(self._key, mutation)
            key = mutation.idempotency_key
            for known in [] if key is None else selected(db, "idempotency_key = ?", key):
                return self._again(db, known, mutation, body_hash, now), known.attempts + 1
            return insert(db, mutation, about, body_hash=body_hash, owner=self._locks.own(), now=now).id, 1

        entry_id, attempt = await self._store.run(work)
        self._lost.discard(entry_id)
        self._sent[entry_id] = attempt, anyio.current_time()
        if about is not None:
            about.begun.append(entry_id)
        failpoint("journal.begun")
        return entry_id

    def sent(self, entry_id: str) -> None:
        """Note that the whole request was sent."""
        self._sent[entry_id] = self._sent[entry_id][0], anyio.current_time()
        failpoint("request.sent")

    async def end(
        self, entry_id: str, outcome: Outcome, *, reference: str | None = None, status: int | None = None
    ) -> None:
        """Record the outcome. If it can't be written, the row stays `pending` and is reconciled later."""
        failpoint("request.answered")
        if outcome != "unknown":
            self._sent.pop(entry_id, None)
        values = (outcome, reference, status, self._clock(), entry_id)
        change = (
            "UPDATE mutations SET state = ?, reference = coalesce(?, reference), status = ?, ended_at = ?"
            " WHERE id = ? AND state = 'pending'"
        )
        try:
            await self._store.run(lambda db: db.execute(change, values))
        except StoreUnavailable:
            self._lost.add(entry_id)
            logger.error("the outcome of a request could not be written to the journal")
        failpoint("journal.ended")

    async def for_approval(self, approval_id: str) -> list[JournalEntry]:
        """Return the mutations sent for this approval, oldest first."""
        return await self._store.read(lambda db: selected(db, "approval_id = ?", approval_id))

    async def unresolved(self) -> list[JournalEntry]:
        """Return the principal's mutations without a known outcome that no process is working on, oldest first."""

        def work(db: sqlite3.Connection) -> list[JournalEntry]:
            found = [entry for entry in selected(db, OPEN) if self._principal.may_act_for(entry.user_id)]
            return [entry for entry in found if entry.state != "pending" or not self._in_flight(entry)]

        return await self._store.read(work)

    async def concurrent_requests(self, entry: JournalEntry) -> ConcurrentRequests:
        """Return the other requests that could have created what this one asked for."""
        return await self._store.read(lambda db: concurrent_requests(db, entry, self._in_flight))

    async def same_request_before(self, entry_id: str, user_id: str, seconds: float) -> JournalEntry | None:
        """Return the user's newest equal request that created something in the `seconds` before this one."""
        return await self._store.read(lambda db: same_request_before(db, entry_id, user_id, seconds))

    async def concurrent_changes(self, entry: JournalEntry, since: float) -> list[JournalEntry]:
        """Return the user's other changes of the same resource that may have taken effect after `since`."""
        return await self._store.read(lambda db: concurrent_changes(db, entry, since))

    def elapsed(self, entry: JournalEntry) -> float:
        """Return the minimum number of seconds since it was sent, on the monotonic clock.

        For a request sent by another process, time counts from the first call of this method.
        """
        now = anyio.current_time()
        attempt, since = self._sent.setdefault(entry.id, (entry.attempts, now))
        if attempt != entry.attempts:
            self._sent[entry.id], since = (entry.attempts, now), now
        return now - since

    async def close(
        self,
        entry_id: str,
        state: Literal["done", "rejected", "unknown"] | NeedsPersonState,
        reference: str | None = None,
        *,
        note: str | None = None,
    ) -> None:
        """Record an outcome found by reconciliation. A closed entry does not change.

        `NEEDS_PERSON` leaves the entry open, and `note` says why a person must check.
        """
        closed = None if state == NEEDS_PERSON else "server"
        self._sent.pop(entry_id, None)
        values = (state, reference, note, closed, self._clock(), entry_id)
        columns = "state = ?, reference = coalesce(?, reference), note = ?, settled_by = ?, ended_at = ?"
        change = f"UPDATE mutations SET {columns} WHERE id = ? AND {OPEN}"  # noqa: S608 - constants only
        await self._store.run(lambda db: db.execute(change, values))

    def resolve_in(self, db: sqlite3.Connection, entry_id: str, reference: str | None, by: str) -> None:
        """Close an entry with a person's answer, within the caller's transaction: it created `reference`, or nothing.

        This also replaces a `done` outcome that has no reference.
        """
        values = ("done" if reference else "rejected", reference, by, self._clock(), entry_id)
        columns = "state = ?, reference = ?, note = NULL, settled_by = ?, ended_at = ?"
        where = f"({OPEN} OR (state = 'done' AND reference IS NULL))"
        db.execute(f"UPDATE mutations SET {columns} WHERE id = ? AND {where}", values)  # noqa: S608 - constants only

    def _in_flight(self, entry: JournalEntry) -> bool:
        if self._locks.is_own(entry.owner):
            return entry.id not in self._lost
        return self._locks.alive(entry.owner)

    def _again(
        self, db: sqlite3.Connection, entry: JournalEntry, mutation: PendingMutation, body_hash: str, now: float
    ) -> str:
        """Record another attempt under the same key. Its body may differ (a label is encrypted anew each time) if the
        earlier attempt is known to have had no effect."""
        if not hmac.compare_digest(entry.body_hash, body_hash) and entry.may_have_happened:
            raise KeyReused
        sent_at = now if entry.state == "unsent" else entry.sent_at
        db.execute(
            "UPDATE mutations SET attempts = attempts + 1, state = 'pending', body = ?, body_hash = ?, owner = ?,"
            " status = NULL, sent_at = ?, last_sent_at = ?, ended_at = NULL, settled_by = NULL, note = NULL"
            " WHERE id = ?",
            (kept_body(mutation), body_hash, self._locks.own(), sent_at, now, entry.id),
        )
        return entry.id


@dataclass(frozen=True, slots=True)
class CallLog:
    """The `MutationLog` of one call."""

    journal: Journal
    call: CallContext

    async def begin(self, mutation: PendingMutation) -> str:
        """As `Journal.begin`, for this call."""
        return await self.journal.begin(mutation, self.call)

    def sent(self, entry_id: str) -> None:
        """As `Journal.sent`."""
        self.journal.sent(entry_id)

    async def end(
        self, entry_id: str, outcome: Outcome, *, reference: str | None = None, status: int | None = None
    ) -> None:
        """As `Journal.end`."""
        await self.journal.end(entry_id, outcome, reference=reference, status=status)

"""The intents of a state folder: opened, decided, taken for execution and ended.

An id is a reference, never authority: only a grant recorded here lets a call run, once. Each change of a row and its
line in the audit are one transaction: where the one can't be written, the other is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.approval import (
    Intent,
    entry,
    find,
    insert,
    moved,
    newest_intents,
    waiting_intents,
    waiting_twin,
)
from machines_mcp.permissions.approval_details import Demand, Stakes, Way
from machines_mcp.permissions.cooldown import Barred, refuse_paused
from machines_mcp.permissions.executions import Executions
from machines_mcp.storage.audit_log import Entry, Kind
from machines_mcp.storage.failpoints import point

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store

    Limit: TypeAlias = Callable[[sqlite3.Connection, Demand, Stakes, float, str | None], str | None]

T = TypeVar("T")

OPEN_SECONDS = 15 * 60
GRANT_SECONDS = 5 * 60


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
        executions: Executions,
        *,
        policy_digest: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._record = record
        self._limit = limit
        self._policy_digest = policy_digest
        self._clock = clock
        self.executions = executions
        self.running = executions.running

    async def open(self, demand: Demand, stakes: Stakes) -> Intent:
        """The waiting intent for this call: the one that waits already, or a new one, open for 15 minutes.

        Raises:
            Barred: A limit of the policy forbids it, or the tool is paused after three refusals in ten minutes.
        """
        now = self._clock()

        def work(db: sqlite3.Connection) -> Intent:
            refuse_paused(db, demand.tool, now)
            twin = waiting_twin(db, demand, stakes, self._policy_digest, now)
            if twin is not None:
                return twin
            intent = self._insert(db, demand, stakes, now)
            self._record(db, entry("asked", intent))
            return intent

        return await self._passing("intent.opened", work)

    async def open_taken(self, demand: Demand, stakes: Stakes, by: Literal["operator", "policy"]) -> Intent:
        """A new intent that is granted and taken already: nobody is asked, and limits count it all the same.

        Raises:
            Barred: A limit of the policy forbids it.
        """
        now = self._clock()

        def work(db: sqlite3.Connection) -> Intent:
            intent = self._insert(db, demand, stakes, now)
            if not (self._grant(db, intent.id, by) and self._consume(db, intent)):  # written just above
                raise AssertionError
            return intent

        return await self._passing("intent.consumed", work)

    def _insert(self, db: sqlite3.Connection, demand: Demand, stakes: Stakes, now: float) -> Intent:
        self._refuse_over_limit(db, demand, stakes, now)
        return insert(db, demand, stakes, self._policy_digest, now, now + OPEN_SECONDS)

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
        call = Entry(
            kind="call",
            tool=demand.tool,
            effect=demand.effect.value,
            user_id=demand.user_id or None,
            verdict="executing",
        )

        def work(db: sqlite3.Connection) -> None:
            self._refuse_over_limit(db, demand, Stakes(question=""), now)
            self._record(db, call)

        await self._store.run(work)

    async def get(self, intent_id: str) -> Intent | None:
        """The intent with this id, or None."""
        return await self._store.read(lambda db: find(db, intent_id))

    async def recent(self, limit: int) -> list[Intent]:
        """The newest intents of any state, the newest first."""
        return await self._store.read(lambda db: newest_intents(db, limit))

    async def waiting(self) -> list[Intent]:
        """The intents that a person can still decide, oldest first."""
        now = self._clock()
        return await self._store.read(lambda db: waiting_intents(db, now))

    async def grant(self, intent_id: str, by: Way) -> bool:
        """Record a person's yes, good for 5 minutes. False unless the intent still waits."""
        return await self._passing("intent.granted", lambda db: self._grant(db, intent_id, by))

    async def refuse(self, intent_id: str, by: Way) -> bool:
        """Record a person's no. False unless the intent still waits."""
        now = self._clock()

        def work(db: sqlite3.Connection) -> bool:
            refused = moved(
                db,
                "UPDATE intents SET state = 'refused', decided_by = ?, decided_at = ?"
                " WHERE id = ? AND state = 'waiting'",
                (by, now, intent_id),
            )
            if refused:
                self._tell(db, "decision", intent_id, "refused")
            return refused

        return await self._store.run(work)

    async def consume(self, intent: Intent) -> bool:
        """Take the grant for one execution. One statement decides: of many callers one gets True.

        Raises:
            Barred: A limit that was kept when the person was asked would be broken now.
        """
        return await self._passing("intent.consumed", lambda db: self._consume(db, intent))

    async def take(self, intent: Intent, by: Way) -> bool:
        """Grant and consume in one transaction, for a page that runs what it was granted itself.

        Raises:
            Barred: As for `consume`; nothing is granted then.
        """
        return await self._passing(
            "intent.consumed", lambda db: self._grant(db, intent.id, by) and self._consume(db, intent)
        )

    async def give_back(self, intent_id: str) -> None:
        """Undo `consume` where nothing was begun: the grant is good again for what is left of its 5 minutes."""

        def work(db: sqlite3.Connection) -> None:
            undo = "UPDATE intents SET state = 'granted' WHERE id = ? AND state = 'executing'"
            if moved(db, undo, (intent_id,)):
                self._tell(db, "outcome", intent_id, "not_begun")

        await self._store.run(work)

    async def reopen(self, intent_id: str) -> None:
        """Undo a `take` where nothing was begun: it waits again for what is left of its grant."""

        def work(db: sqlite3.Connection) -> None:
            undo = (
                "UPDATE intents SET state = 'waiting', decided_by = NULL, decided_at = NULL, began_at = NULL"
                " WHERE id = ? AND state = 'executing'"
            )
            if moved(db, undo, (intent_id,)):
                self._tell(db, "outcome", intent_id, "not_begun")

        await self._store.run(work)

    async def finish(self, intent_id: str, outcome: str, *, ok: bool, code: str) -> None:
        """Keep the first answer (JSON), to be given again to a repeated call. `code` is ok or the refusal's."""

        def work(db: sqlite3.Connection) -> None:
            state = "done" if ok else "failed"
            end = "UPDATE intents SET state = ?, outcome = ? WHERE id = ? AND state = 'executing'"
            if moved(db, end, (state, outcome, intent_id)):
                self._tell(db, "outcome", intent_id, state, code)

        await self._passing("outcome.kept", work)

    async def _passing(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        done = await self._store.run(work)
        point(name)
        return done

    def _grant(self, db: sqlite3.Connection, intent_id: str, by: Way) -> bool:
        now = self._clock()
        granted = moved(
            db,
            "UPDATE intents SET state = 'granted', decided_by = ?, decided_at = ?, expires_at = ?"
            " WHERE id = ? AND state = 'waiting' AND expires_at > ?",
            (by, now, now + GRANT_SECONDS, intent_id, now),
        )
        if granted:
            self._tell(db, "decision", intent_id, "granted")
        return granted

    def _consume(self, db: sqlite3.Connection, intent: Intent) -> bool:
        now, owner = self._clock(), self.executions.owners.own()
        taken = moved(
            db,
            "UPDATE intents SET state = 'executing', began_at = ?, owner = ?"
            " WHERE id = ? AND state = 'granted' AND expires_at > ? AND digest = ? AND user_id = ? AND policy = ?",
            (now, owner, intent.id, now, intent.digest, intent.user_id, self._policy_digest),
        )
        if taken:
            demand = Demand(intent.tool, Effect(intent.effect), intent.user_id, intent.digest, intent.asked_by)
            # Raising takes the whole transaction back.
            self._refuse_over_limit(db, demand, intent.stakes, now, own=intent.id)
            self.executions.began(intent.id)
            self._tell(db, "call", intent.id, "executing")
        return taken

    def _tell(self, db: sqlite3.Connection, kind: Kind, intent_id: str, verdict: str, code: str | None = None) -> None:
        intent = find(db, intent_id)
        if intent is not None:
            self._record(db, entry(kind, intent, verdict, code))

    def good(self, intent: Intent) -> bool:
        """Whether its time has not passed, and the policy is still the one that it was judged by."""
        return intent.expires_at > self._clock() and intent.policy == self._policy_digest

    def expired(self, intent: Intent) -> bool:
        """Whether it waits, or its grant does, in vain."""
        return intent.state in ("waiting", "granted") and not self.good(intent)

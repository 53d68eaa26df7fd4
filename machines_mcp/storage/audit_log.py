"""The audit log: one row for each call, decision and alarm, in a hash chain that reveals tampering.

The row for a change is written before the change happens: in the same transaction (`append_in`) or its own (`append`).
If the write fails, the change must not happen. Rows for reads (`note`) are written in batches, at most 0.1 s later.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from machines_mcp.storage.audit_chain import Verification, chained, tolerant, verify
from machines_mcp.storage.audit_checkpoint import Checkpoint, newest, publish
from machines_mcp.storage.audit_forgetting import replace_user
from machines_mcp.storage.audit_pruning import prune_batch
from machines_mcp.storage.audit_queue import AuditQueue
from machines_mcp.storage.audit_record import COLUMNS, AuditEntry, AuditRow, Kind, fingerprinted, stored_kind
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.failpoints import failpoint
from machines_mcp.storage.principal import OF_PRINCIPAL, Principal

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store

__all__ = ["AuditEntry", "AuditLog", "AuditRow", "Checkpoint", "Kind", "Verification", "verify"]

logger = logging.getLogger(__name__)

_COLUMNS = ", ".join(COLUMNS)
_INSERT = f"INSERT INTO audit ({_COLUMNS}, mac) VALUES ({'?, ' * len(COLUMNS)}?)"  # noqa: S608 - constants only

# A call that names no user is its server's. Rows that belong to the whole folder, such as alarms, are everybody's.
_NAMED = "(:principal IS NULL OR kind NOT IN ('call', 'outcome') OR coalesce(user_id, '') <> '')"
_TESTS = {
    "before": "seq < :before",
    "tool": "tool = :tool",
    "kind": "kind = :kind",
    "user": "user_id = :user",
    "since": "at >= :since",
    "until": "at < :until",
    "approvals": "approval_id IN (SELECT value FROM json_each(:approvals))",
}
# What the desk shows of a call: its newest row, by which the others are found. Reads are left out, except denied ones.
_FOLDED = (
    "(kind <> 'call' OR action_class IS NOT 'read' OR verdict IS NOT NULL OR substr(code, 1, 7) = 'policy.')"
    " AND (approval_id IS NULL OR NOT EXISTS"
    " (SELECT 1 FROM audit AS newer WHERE newer.approval_id = audit.approval_id AND newer.seq > audit.seq))"
)


class AuditLog:
    """The audit log of one state folder. Servers can share it: each row is chained within its write transaction."""

    def __init__(
        self,
        store: Store,
        key: bytes,
        policy_digest: str,
        *,
        head_file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._key = key
        self._policy = policy_digest
        self._head_file = head_file
        self._clock = clock
        self._queue = AuditQueue(store, self._insert, self._fail, clock)
        self.broken = False
        """Whether the last write failed; False again after the next successful one."""
        self.checkpoint_broken = False
        """Whether the stored checkpoint could not be updated or does not belong to this chain."""

    def recorded_principal(self, principal: Principal) -> Principal:
        """Return the principal by the ids in the log, some of which are fingerprints."""
        named = None if principal.users is None else {*principal.users, principal.recorded_as}
        users = None if named is None else frozenset(map(self.recorded_id, named))
        return Principal(users, None if principal.pinned is None else self.recorded_id(principal.pinned))

    def recorded_id(self, given: str) -> str:
        """Return the id of a user or card in the log."""
        return fingerprinted(self._key, given) or ""

    def append_in(self, db: sqlite3.Connection, entry: AuditEntry) -> None:
        """Write the queued rows and then this one, within the caller's transaction (`store.run`).

        Raises:
            StoreUnavailable: The chain can't be continued.
        """
        self._queue.drain(db)
        self._insert(db, self._clock(), entry)

    async def append(self, entry: AuditEntry) -> None:
        """Write the row now.

        Raises:
            StoreUnavailable: The row can't be written, so the change it records must not happen.
        """
        await self._written(lambda db: self.append_in(db, entry))

    def forget_in(self, db: sqlite3.Connection, user_id: str, card_ids: Collection[str]) -> int:
        """Replace the user, with the user's cards, by pseudonyms in every row. Return how many rows named them.

        If there are any, a row of its own is written under the same pseudonym. The chain must be intact.

        Raises:
            StoreUnavailable: A row that names the user was tampered with, or the chain can't be continued.
        """
        cards = frozenset(map(self.recorded_id, card_ids))
        pseudonym, count = replace_user(db, self._key, self.recorded_id(user_id), cards)
        if count:
            self.append_in(db, AuditEntry("setting", user_id=pseudonym, code="forgotten", by="terminal"))
        return count

    def note(self, entry: AuditEntry) -> None:
        """Queue a row that records no change. It is written within 0.1 s, before any other row, or at `close`.

        While 10,000 rows wait, further ones are dropped and counted in a row of their own. Call on the loop's thread.
        """
        self._queue.note(entry)

    def alarm(self, code: str) -> None:
        """Queue an `alarm` row, to be written as soon as possible. Safe to call from any thread."""
        logger.error("an alarm was raised; run machines-mcp audit show --kind alarm")
        self._queue.alarm(code)

    async def flush(self) -> None:
        """Write the queued rows.

        Raises:
            StoreUnavailable: They can't be written and stay queued.
        """
        if self._queue.due:
            await self._written(self._queue.drain)

    async def close(self) -> None:
        """Write the queued rows before the store is closed. Log an error if they can't be written."""
        self._queue.stop()
        try:
            await self.flush()
        except StoreUnavailable:
            logger.error("audit rows were lost: they could not be written before shutdown")

    def trouble(self) -> str | None:
        """Return why the audit log is currently unwritable, for the operator; None if it is healthy."""
        if self.broken:
            return "The audit log can't be written, so all changes are refused. Run machines-mcp doctor."
        if self.checkpoint_broken:
            return "The audit checkpoint can't be updated. Run machines-mcp audit verify."
        return None

    async def rows(
        self,
        principal: Principal,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 200,
        tool: str | None = None,
        kind: str | None = None,
        user_id: str | None = None,
        since: float | None = None,
        until: float | None = None,
        newest_first: bool = False,
        folded: bool = False,
        approvals: Sequence[str] | None = None,
    ) -> list[AuditRow]:
        """Return at most `limit` rows with `after` < seq < `before` and `since` <= at < `until` (epoch seconds).

        Rows of users other than the principal's are left out, and calls of other principals that name no user. If
        `folded`, so are reads, and all rows of an approval except the newest. `approvals` are the only ones wanted.

        Raises:
            StoreUnavailable: The database can't be read.
        """
        given: dict[str, str | float | None] = {"before": before, "tool": tool, "since": since, "until": until}
        given |= {"kind": None if kind is None else stored_kind(kind), "user": fingerprinted(self._key, user_id)}
        given["approvals"] = None if approvals is None else json.dumps(list(approvals))
        tests = [_TESTS[name] for name, value in given.items() if value is not None]
        where = " AND ".join([OF_PRINCIPAL, _NAMED, "seq > :after", *tests, *([_FOLDED] if folded else [])])
        order = "DESC" if newest_first else "ASC"
        query = f"SELECT {_COLUMNS} FROM audit WHERE {where} ORDER BY seq {order} LIMIT :limit"  # noqa: S608 - constants
        values = given | self.recorded_principal(principal).bound | {"after": after, "limit": limit}

        def work(db: sqlite3.Connection) -> list[AuditRow]:
            with tolerant(db):
                return [AuditRow.of(row) for row in db.execute(query, values)]

        return await self._store.read(work)

    async def prune(self, before: float) -> int:
        """Delete the rows of reads from before that time (epoch seconds), some at a time. Return how many.

        The chain must be intact. A row of its own is written first.

        Raises:
            StoreUnavailable: The database can't be used. Rows may have been deleted.
        """
        await self.append(AuditEntry("setting", code="pruned", by="operator"))
        deleted = 0
        reached: int | None = 0
        while reached is not None:
            batch = await self._store.run(partial(prune_batch, key=self._key, before=before, after=reached))
            deleted, reached = deleted + batch.deleted, batch.reached
        return deleted

    async def verified(self, checkpoint: Checkpoint | None = None) -> Verification:
        """Verify the whole chain (see `verify`).

        Raises:
            StoreUnavailable: The database can't be read.
        """
        return await self._store.read(lambda db: verify(db, self._key, checkpoint))

    async def _written(self, work: Callable[[sqlite3.Connection], None]) -> None:
        try:
            await self._store.run(work)
        except StoreUnavailable:
            self._fail()
            raise

    def _insert(self, db: sqlite3.Connection, at: float, entry: AuditEntry) -> None:
        self._store.at_end(self._ended)
        last = newest(db)
        values = (last.seq + 1, float(at), *entry.values(self._key), self._policy)
        db.execute(_INSERT, (*values, chained(self._key, bytes.fromhex(last.mac), values)))

    def _ended(self, db: sqlite3.Connection, committed: bool) -> None:
        """Update the queue and the checkpoint after a transaction that wrote rows."""
        self._queue.transaction_ended(committed=committed)
        if not committed:
            return
        self.broken = False
        if self._head_file is not None:
            self.checkpoint_broken = not publish(db, self._head_file)
        failpoint("audit.appended")

    def _fail(self) -> None:
        self.broken = True
        logger.error("the audit log could not be written")

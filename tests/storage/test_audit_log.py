"""Audit rows: their transaction, their order, and the behavior when they can't be written."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import anyio
import pytest

from machines_mcp.storage import audit_queue as module
from machines_mcp.storage.audit_log import AuditEntry, AuditLog
from machines_mcp.storage.audit_record import COLUMNS, AuditRow
from machines_mcp.storage.database import Store, StoreUnavailable
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

KEY = bytes(range(32))
WRITE = AuditEntry("call", tool="create_card", action_class="money", user_id="user-1", verdict="run", amount_cents=5000)
READ = AuditEntry("call", tool="get_balances", action_class="read", user_id="user-1", verdict="run")


@pytest.fixture
async def audit(store: Store, clock: Clock) -> AsyncIterator[AuditLog]:
    made = AuditLog(store, KEY, "policy-1", clock=clock)
    yield made
    await made.close()


async def kinds(audit: AuditLog) -> list[tuple[int, str, str | None]]:
    return [(row.seq, row.kind, row.tool) for row in await audit.rows(ANY_USER)]


class TransactionLog:
    """Reports how each write transaction of a store ends, in order."""

    def __init__(self, store: Store) -> None:
        self._ends: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._store = store
        self._transact = store._transact
        store._transact = self._note  # type: ignore[method-assign]

    def _note(self, work: Callable[[sqlite3.Connection], Any], begin: str) -> Any:
        if begin == "BEGIN":
            return self._transact(work, begin)
        committed = False
        try:
            result = self._transact(work, begin)
            committed = True
        finally:
            self._ends.put(committed)
        return result

    async def next(self) -> bool:
        """Whether the next one was committed. Its consequences are complete when this returns."""
        committed = await anyio.to_thread.run_sync(lambda: self._ends.get(timeout=PATIENCE))
        await self._store.read(lambda db: None)
        return committed

    def more(self) -> bool:
        return not self._ends.empty()


def stop_growth(db: sqlite3.Connection) -> None:
    """Prevent the database from growing."""
    pages = int(db.execute("PRAGMA page_count").fetchone()[0])
    db.execute(f"PRAGMA max_page_count = {pages}")
    db.execute("PRAGMA cache_size = 10")


def allow_growth(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA max_page_count = 1000000")


async def fill(store: Store) -> None:
    """Leave no page with room for another row."""
    await store.read(stop_growth)
    filler = "INSERT INTO quotes (id, user_id, terms, created_at, expires_at) VALUES (?, '', '', 0, 0)"
    with pytest.raises(StoreUnavailable):
        for number in range(10_000):
            await store.run(lambda db, number=number: db.execute(filler, (f"filler-{number}",)))  # type: ignore[misc]


async def test_row_records_event_time_and_policy(audit: AuditLog, clock: Clock) -> None:
    await audit.append(WRITE)
    (row,) = await audit.rows(ANY_USER)
    assert row.as_json() == {
        "seq": 1,
        "at": clock.now,
        "kind": "call",
        "tool": "create_card",
        "action_class": "money",
        "user_id": "user-1",
        "verdict": "run",
        "amount_cents": 5000,
        "policy": "policy-1",
    }


async def test_every_column_is_read_into_its_own_field(audit: AuditLog) -> None:
    names = {"by": "decided_by"}
    assert [names.get(field.name, field.name) for field in fields(AuditRow)] == list(COLUMNS)
    entry = AuditEntry("reveal", "t", "e", "u", "i", "v", "c", "b", "s", "k", 7)
    await audit.append(entry)
    (row,) = await audit.rows(ANY_USER)
    assert {field.name: getattr(row, field.name) for field in fields(AuditEntry)} == {
        field.name: getattr(entry, field.name) for field in fields(AuditEntry)
    }


async def test_row_and_its_change_share_a_transaction(store: Store, audit: AuditLog) -> None:
    def work(db: sqlite3.Connection) -> None:
        audit.append_in(db, WRITE)
        raise LookupError

    with pytest.raises(LookupError):
        await store.run(work)
    assert await audit.rows(ANY_USER) == []
    await audit.append(WRITE)
    assert await kinds(audit) == [(1, "call", "create_card")]


async def test_reads_are_written_in_one_transaction_soon_after(store: Store, audit: AuditLog) -> None:
    ended = TransactionLog(store)
    for _ in range(5):
        audit.note(READ)
    assert await ended.next()
    assert not ended.more()
    assert await kinds(audit) == [(number, "call", "get_balances") for number in range(1, 6)]


async def test_waiting_reads_are_written_before_any_other_row(audit: AuditLog, clock: Clock) -> None:
    audit.note(READ)
    clock.advance(1)
    await audit.append(WRITE)
    assert [(row.tool, row.at) for row in await audit.rows(ANY_USER)] == [
        ("get_balances", clock.now - 1),
        ("create_card", clock.now),
    ]


async def test_waiting_reads_survive_a_rollback(store: Store, audit: AuditLog) -> None:
    def work(db: sqlite3.Connection) -> None:
        audit.append_in(db, WRITE)
        raise LookupError

    audit.note(READ)
    with pytest.raises(LookupError):
        await store.run(work)
    await audit.append(WRITE)
    assert await kinds(audit) == [(1, "call", "get_balances"), (2, "call", "create_card")]


async def test_rows_of_one_transaction_write_waiting_reads_once(store: Store, audit: AuditLog) -> None:
    audit.note(READ)

    def work(db: sqlite3.Connection) -> None:
        audit.append_in(db, WRITE)
        audit.append_in(db, WRITE)

    await store.run(work)
    assert [seq for seq, _, _ in await kinds(audit)] == [1, 2, 3]


async def test_waiting_reads_are_written_on_close(store: Store, clock: Clock) -> None:
    audit = AuditLog(store, KEY, "p", clock=clock)
    audit.note(READ)
    await audit.close()
    assert await kinds(audit) == [(1, "call", "get_balances")]


async def test_alarm_needs_no_wait_and_no_event_loop(store: Store, audit: AuditLog) -> None:
    ended = TransactionLog(store)
    caller = threading.Thread(target=audit.alarm, args=("output_filter.exact",))
    caller.start()
    caller.join(10)
    assert await ended.next()
    (row,) = await audit.rows(ANY_USER)
    assert (row.kind, row.code) == ("alarm", "output_filter.exact")


async def test_reads_over_the_queue_limit_are_counted(audit: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED", 3)
    for _ in range(5):
        audit.note(READ)
    await audit.flush()
    assert [(row.kind, row.code) for row in await audit.rows(ANY_USER)] == [
        ("call", None),
        ("call", None),
        ("call", None),
        ("alarm", "audit.not_kept:2"),
    ]
    await audit.append(WRITE)
    assert len(await audit.rows(ANY_USER)) == 5


async def test_full_disk_blocks_changes_and_reads_wait(store: Store, audit: AuditLog) -> None:
    await audit.append(WRITE)
    await fill(store)
    with pytest.raises(StoreUnavailable):
        for _ in range(200):
            await audit.append(WRITE)
    seen = [audit.broken]
    assert "can't be written" in str(audit.trouble())
    before = await audit.rows(ANY_USER, limit=1000)
    audit.note(READ)
    with pytest.raises(StoreUnavailable):
        await audit.flush()
    assert await audit.rows(ANY_USER, limit=1000) == before
    await store.read(allow_growth)
    await audit.append(WRITE)
    assert [*seen, audit.broken] == [True, False]
    assert audit.trouble() is None
    assert [row.tool for row in await audit.rows(ANY_USER, after=before[-1].seq)] == ["get_balances", "create_card"]


async def test_failed_batch_is_retried(
    store: Store, audit: AuditLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    await audit.append(WRITE)
    await store.run(lambda db: db.execute("ALTER TABLE audit RENAME TO elsewhere"))
    ended = TransactionLog(store)
    audit.note(READ)
    assert [await ended.next(), audit.broken] == [False, True]
    assert "the audit log could not be written" in caplog.text
    await store.run(lambda db: db.execute("ALTER TABLE elsewhere RENAME TO audit"))
    with anyio.fail_after(PATIENCE):
        while await ended.next() and audit.broken:
            pass
    assert [seq for seq, _, _ in await kinds(audit)] == [1, 2]


async def test_rows_lost_on_close_are_logged(store: Store, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    audit = AuditLog(store, KEY, "p", clock=clock)
    await store.run(lambda db: db.execute("ALTER TABLE audit RENAME TO elsewhere"))
    audit.note(READ)
    await audit.close()
    assert "audit rows were lost" in caplog.text


async def test_read_only_database_blocks_changes(store: Store, audit: AuditLog) -> None:
    await audit.append(WRITE)
    await store.read(lambda db: db.execute("PRAGMA query_only = ON"))
    with pytest.raises(StoreUnavailable):
        await audit.append(WRITE)
    assert audit.broken
    assert len(await audit.rows(ANY_USER)) == 1


async def test_servers_sharing_a_folder_write_one_chain(tmp_path: Path) -> None:
    stores = [Store(tmp_path) for _ in range(3)]
    audits = [AuditLog(store, KEY, f"policy-{number}") for number, store in enumerate(stores)]

    async def busy(audit: AuditLog) -> None:
        for _ in range(20):
            audit.note(READ)
            await audit.append(WRITE)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for audit in audits:
                tasks.start_soon(busy, audit)
    verification = await audits[0].verified()
    assert (verification.ok, verification.rows) == (True, 120)
    for audit, store in zip(audits, stores, strict=True):
        await audit.close()
        await store.close()


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({}, [1, 2, 3, 4]),
        ({"after": 2}, [3, 4]),
        ({"before": 3}, [1, 2]),
        ({"limit": 2}, [1, 2]),
        ({"limit": 2, "newest_first": True}, [4, 3]),
        ({"tool": "create_card"}, [1, 4]),
        ({"kind": "alarm"}, [3]),
        ({"user_id": "user-1"}, [1, 2, 4]),
        ({"since": 1_800_000_002.0}, [3, 4]),
        ({"until": 1_800_000_002.0}, [1, 2]),
        ({"tool": "' OR 1 --"}, []),
    ],
)
async def test_rows_are_filtered_by_number_tool_kind_user_and_time(
    audit: AuditLog, clock: Clock, wanted: dict, numbers: list[int]
) -> None:
    for entry in (WRITE, READ, AuditEntry("alarm", code="output_filter.exact"), WRITE):
        await audit.append(entry)
        clock.advance(1)
    assert [row.seq for row in await audit.rows(ANY_USER, **wanted)] == numbers


async def test_tampered_rows_can_still_be_read(store: Store, audit: AuditLog) -> None:
    await audit.append(WRITE)
    await store.run(lambda db: db.execute("UPDATE audit SET tool = CAST(? AS TEXT)", (b"\xff",)))
    (row,) = await audit.rows(ANY_USER)
    assert row.tool == "\udcff"

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from machines_mcp.storage import database as module
from machines_mcp.storage.database import Store, StoreUnavailable
from machines_mcp.storage.private_folder import private_folder
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")

QUOTE = "INSERT INTO quotes (id, user_id, terms, created_at, expires_at) VALUES (?, 'user-1', '{}', 0, 0)"


def _count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT COUNT(*) FROM quotes").fetchone()[0])


async def test_written_data_is_available_to_the_next_server(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    await first.run(lambda db: db.execute(QUOTE, ("q1",)))
    await first.close()
    assert await second.read(_count) == 1
    await second.close()


async def test_disk_is_untouched_before_the_first_transaction(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    assert not (tmp_path / "state").exists()
    await store.close()
    assert not (tmp_path / "state").exists()


@posix_only
async def test_folder_and_files_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    before = os.umask(0)
    store = Store(folder)
    try:
        await store.run(lambda db: db.execute(QUOTE, ("q1",)))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(before)
        await store.close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm"), 0o600)


@posix_only
def test_created_parent_folders_are_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    private_folder(tmp_path / "a" / "b" / "c")
    private_folder(tmp_path / "a" / "b" / "c")
    made = [tmp_path, *sorted(tmp_path.rglob("*"))]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o755, 0o700, 0o700, 0o700]


async def test_power_cut_loses_no_acknowledged_write(store: Store) -> None:
    def settings(db: sqlite3.Connection) -> tuple[str, int]:
        return str(db.execute("PRAGMA journal_mode").fetchone()[0]), int(db.execute("PRAGMA synchronous").fetchone()[0])

    assert await store.read(settings) == ("wal", 2)


async def test_failed_work_is_rolled_back(store: Store) -> None:
    def work(db: sqlite3.Connection) -> None:
        db.execute(QUOTE, ("q1",))
        raise LookupError

    with pytest.raises(LookupError):
        await store.run(work)
    assert await store.read(_count) == 0


async def test_cancelled_caller_waits_until_its_write_is_complete(store: Store) -> None:
    # Code that runs after this, cancelled or not, may rely on the write.
    begun, go, seen = threading.Event(), threading.Event(), []

    def work(db: sqlite3.Connection) -> None:
        begun.set()
        go.wait(PATIENCE)
        db.execute(QUOTE, ("q1",))

    async def write() -> None:
        await store.run(work)
        seen.append("written")

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await anyio.to_thread.run_sync(begun.wait, PATIENCE)
            tasks.cancel_scope.cancel()
            go.set()
    assert seen == ["written"]
    assert await store.read(_count) == 1


async def test_read_then_write_is_not_interleaved(tmp_path: Path) -> None:
    stores = [Store(tmp_path), Store(tmp_path)]
    meeting = threading.Barrier(2)

    def work(db: sqlite3.Connection) -> None:
        count = _count(db)
        with suppress(threading.BrokenBarrierError):
            meeting.wait(0.3)  # both would wait here if both were admitted to read
        db.execute(QUOTE, (f"q{count}",))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for store in stores:
                tasks.start_soon(store.run, work)
    assert await stores[0].read(_count) == 2
    for store in stores:
        await store.close()


async def test_servers_opening_a_new_folder_concurrently_all_succeed(tmp_path: Path) -> None:
    stores = [Store(tmp_path / "state") for _ in range(12)]

    async def write(store: Store, name: str) -> None:
        await store.run(lambda db: db.execute(QUOTE, (name,)))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for number, store in enumerate(stores):
                tasks.start_soon(write, store, f"q{number}")
    assert await stores[0].read(_count) == 12
    for store in stores:
        await store.close()


_COUNTER = """
import sys, anyio
from pathlib import Path
from machines_mcp.storage.database import Store

def bump(db):
    value = int(db.execute("SELECT terms FROM quotes").fetchone()[0])
    db.execute("UPDATE quotes SET terms = ?", (str(value + 1),))

async def main():
    store = Store(Path(sys.argv[1]))
    for _ in range(50):
        await store.run(bump)
    await store.close()

anyio.run(main)
"""


@pytest.mark.check
async def test_two_processes_lose_no_update(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.run(lambda db: db.execute(QUOTE, ("q1",)))
    await store.run(lambda db: db.execute("UPDATE quotes SET terms = '0'"))
    command = [sys.executable, "-c", _COUNTER, str(tmp_path)]
    children = [subprocess.Popen(command) for _ in range(2)]  # noqa: ASYNC220
    try:
        assert [await anyio.to_thread.run_sync(child.wait, PATIENCE) for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert await store.read(lambda db: db.execute("SELECT terms FROM quotes").fetchone()[0]) == "100"
    await store.close()


async def test_event_loop_runs_while_another_server_holds_the_database(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.read(_count)
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ticks = 0
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.run, lambda db: db.execute(QUOTE, ("q1",)))
            for _ in range(5):
                await anyio.wait_all_tasks_blocked()
                ticks += 1
            other.execute("COMMIT")
    assert ticks == 5
    other.close()
    assert await store.read(_count) == 1
    await store.close()


async def test_reader_does_not_wait_for_another_servers_write(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.read(_count)
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute(QUOTE, ("q1",))
    with anyio.fail_after(PATIENCE):
        assert await store.read(_count) == 0
    other.execute("ROLLBACK")
    other.close()
    await store.close()


async def test_database_that_stays_locked_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUSY_SECONDS", 0.05)
    store = Store(tmp_path)
    await store.read(_count)
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await store.run(lambda db: db.execute(QUOTE, ("q1",)))
    other.execute("ROLLBACK")
    other.close()
    await store.run(lambda db: db.execute(QUOTE, ("q1",)))
    await store.close()


@pytest.mark.parametrize("lets_go", [True, False])
async def test_opening_waits_while_another_process_sets_up_a_new_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lets_go: bool
) -> None:
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None, check_same_thread=False)
    # SQLite reports this lock at once when the journal mode changes, whatever the connection's timeout.
    other.execute("BEGIN IMMEDIATE")
    tries: list[float] = []

    def pause(seconds: float) -> None:
        tries.append(seconds)
        if lets_go and len(tries) == 3:
            other.execute("ROLLBACK")

    monkeypatch.setattr(time, "sleep", pause)
    monkeypatch.setattr(module, "_BUSY_SECONDS", PATIENCE if lets_go else 0.05)
    store = Store(tmp_path)
    if lets_go:
        assert await store.read(_count) == 0
        assert len(tries) == 3
    else:
        with pytest.raises(StoreUnavailable):
            await store.read(_count)
        other.execute("ROLLBACK")
    other.close()
    await store.close()


async def test_full_disk_rejects_the_write_and_keeps_existing_data(store: Store) -> None:
    await store.run(lambda db: db.execute(QUOTE, ("q1",)))
    limit = await store.read(lambda db: int(db.execute("PRAGMA page_count").fetchone()[0]))
    await store.read(lambda db: db.execute(f"PRAGMA max_page_count = {limit}"))
    with pytest.raises(StoreUnavailable):
        await store.run(lambda db: db.execute(QUOTE, ("q" * 100_000,)))
    assert await store.read(_count) == 1
    await store.read(lambda db: db.execute("PRAGMA max_page_count = 1000000"))
    await store.run(lambda db: db.execute(QUOTE, ("q" * 100_000,)))
    assert await store.read(_count) == 2


def _not_a_folder(folder: Path) -> None:
    folder.write_text("", encoding="utf-8")


def _not_a_database(folder: Path) -> None:
    folder.mkdir()
    (folder / "state.db").write_bytes(b"this is no database" * 1000)


def _of_a_newer_version(folder: Path) -> None:
    folder.mkdir()
    db = sqlite3.connect(folder / "state.db")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA user_version = 9999")
    db.close()


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("spoil", [_not_a_folder, _not_a_database, _of_a_newer_version])
async def test_unusable_folder_is_unavailable_and_unchanged(tmp_path: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(tmp_path / "state")
    before = _contents(tmp_path)
    store = Store(tmp_path / "state")
    for attempt in (store.run, store.read):
        with pytest.raises(StoreUnavailable):
            await attempt(_count)
    await store.close()
    assert _contents(tmp_path).items() >= before.items()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a read-only file system")
async def test_read_only_disk_is_unavailable() -> None:
    store = Store(Path("/proc/machines-mcp"))
    with pytest.raises(StoreUnavailable):
        await store.run(_count)
    await store.close()


async def test_closing_twice_is_harmless_and_releases_the_files(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.run(lambda db: db.execute(QUOTE, ("q1",)))
    await store.close()
    assert [path.name for path in _contents(tmp_path)] == ["state.db"]
    await store.close()


async def test_every_statement_of_every_migration_runs(store: Store) -> None:
    folder = Path(module.__file__).with_name("migrations")
    lines = [line for file in folder.glob("*.sql") for line in file.read_text(encoding="utf-8").splitlines()]
    wanted = sum(line.startswith(("CREATE TABLE", "CREATE INDEX", "CREATE VIEW", "CREATE TRIGGER")) for line in lines)
    wanted -= sum(line.startswith(("DROP TABLE", "DROP INDEX")) for line in lines)
    made = "SELECT COUNT(*) FROM sqlite_master WHERE sql IS NOT NULL"
    assert await store.read(lambda db: db.execute(made).fetchone()[0]) == wanted > 0


async def test_end_of_a_transaction_is_told_once_and_to_that_transaction_only(store: Store) -> None:
    ends: list[bool] = []

    def told(db: sqlite3.Connection, committed: bool) -> None:
        assert not db.in_transaction
        ends.append(committed)

    def work(db: sqlite3.Connection) -> None:
        store.at_end(told)
        store.at_end(told)

    def fails(db: sqlite3.Connection) -> None:
        store.at_end(told)
        raise LookupError

    await store.run(work)
    assert ends == [True]
    with pytest.raises(LookupError):
        await store.run(fails)
    assert ends == [True, False]
    await store.run(lambda db: None)
    assert ends == [True, False]

"""The checkpoint file: current, private, and never overwritten when it proves a truncated chain."""

from __future__ import annotations

import json
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from machines_mcp.storage.audit_checkpoint import EMPTY, Checkpoint
from machines_mcp.storage.audit_log import AuditEntry, AuditLog
from machines_mcp.storage.database import Store
from tests.support.clock import Clock
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

KEY = bytes(range(32))
ENTRY = AuditEntry("call", tool="create_card")
MAC = "ab" * 32


async def test_checkpoint_follows_each_committed_row(store: Store, tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "head.json"
    audit = AuditLog(store, KEY, "p", head_file=path, clock=clock)
    for number in range(1, 4):
        if number % 2:
            await audit.append(ENTRY)
        else:
            await store.run(lambda db: audit.append_in(db, ENTRY))
        checkpoint = Checkpoint.read(path)
        assert (checkpoint.seq, checkpoint.at) == (number, clock.now)
        assert (await audit.verified(checkpoint)).ok
    assert sorted(os.listdir(tmp_path)) == ["head.json", "state"]
    assert json.loads(path.read_text(encoding="ascii")).keys() == {"seq", "mac", "at"}


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")
async def test_checkpoint_file_is_private_regardless_of_the_umask(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    before = os.umask(0)
    try:
        await AuditLog(store, KEY, "p", head_file=path).append(ENTRY)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_writes_by_others_do_not_change_the_checkpoint(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    AuditLog(store, KEY, "p", head_file=path)
    await store.run(lambda db: db.execute("DELETE FROM quotes"))
    assert not path.exists()


async def test_rolled_back_transaction_does_not_change_the_checkpoint(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    audit = AuditLog(store, KEY, "p", head_file=path)

    def work(db: object) -> None:
        audit.append_in(db, ENTRY)  # type: ignore[arg-type]
        raise LookupError

    with pytest.raises(LookupError):
        await store.run(work)
    assert not path.exists()


async def test_concurrent_servers_never_move_the_checkpoint_back(tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    stores = [Store(tmp_path / "state") for _ in range(2)]
    audits = [AuditLog(store, KEY, "p", head_file=path) for store in stores]

    async def busy(audit: AuditLog) -> None:
        for _ in range(30):
            await audit.append(ENTRY)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for audit in audits:
                tasks.start_soon(busy, audit)
    assert Checkpoint.read(path).seq == 60
    assert not any(audit.checkpoint_broken for audit in audits)
    for store in stores:
        await store.close()


async def test_one_server_at_a_time_updates_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, meeting, met = tmp_path / "head.json", threading.Barrier(2), []
    write = Checkpoint.write

    def slowly(checkpoint: Checkpoint, path: Path) -> None:
        with suppress(threading.BrokenBarrierError):
            meeting.wait(0.3)  # both would wait here if both were admitted
            met.append(checkpoint.seq)
        write(checkpoint, path)

    monkeypatch.setattr(Checkpoint, "write", slowly)
    stores = [Store(tmp_path / "state") for _ in range(2)]
    await stores[0].read(lambda db: None)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for store in stores:
                tasks.start_soon(AuditLog(store, KEY, "p", head_file=path).append, ENTRY)
    assert met == []
    assert Checkpoint.read(path).seq == 2
    for store in stores:
        await store.close()


async def test_truncated_chain_does_not_overwrite_the_checkpoint(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "head.json"
    audit = AuditLog(store, KEY, "p", head_file=path)
    for _ in range(3):
        await audit.append(ENTRY)
    proof = path.read_bytes()
    await store.run(lambda db: db.execute("DELETE FROM audit WHERE seq > 1"))
    for _ in range(5):
        await audit.append(AuditEntry("call", tool="other"))
    assert path.read_bytes() == proof
    assert audit.checkpoint_broken
    assert "audit verify" in str(audit.trouble())
    assert "the audit checkpoint does not match the chain" in caplog.text
    assert [str(fault) for fault in (await audit.verified(Checkpoint.read(path))).faults] == [
        "the checkpoint names row 3, which is missing or different"
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"[" * 990, b"\xff", b'{"seq": 1, "mac": "x", "at": 1}'])
async def test_file_that_is_not_a_checkpoint_is_left_alone(store: Store, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "head.json"
    path.write_bytes(content)
    audit = AuditLog(store, KEY, "p", head_file=path)
    await audit.append(ENTRY)
    assert path.read_bytes() == content
    assert audit.checkpoint_broken


async def test_unwritable_checkpoint_is_reported_until_it_is_written(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "elsewhere" / "head.json"
    audit = AuditLog(store, KEY, "p", head_file=path)
    await audit.append(ENTRY)
    seen = [audit.checkpoint_broken]
    assert "the audit checkpoint could not be written" in caplog.text
    path.parent.mkdir()
    await audit.append(ENTRY)
    assert [*seen, audit.checkpoint_broken] == [True, False]
    assert Checkpoint.read(path).seq == 2


def _given(**values: object) -> bytes:
    return json.dumps({"seq": 1, "mac": MAC, "at": 1.5} | values).encode()


@pytest.mark.parametrize(
    "content",
    [
        _given(seq=-1),
        _given(seq=2**63),
        _given(seq="1"),
        _given(seq=1.0),
        _given(mac=None),
        _given(mac="AB" * 32),
        _given(mac=MAC + "\n"),
        _given(at="now"),
        _given(more="x" * 2000),
    ],
)
def test_invalid_checkpoint_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "head.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint|Unterminated"):
        Checkpoint.read(path)


@pytest.mark.parametrize("checkpoint", [EMPTY, Checkpoint(1, MAC, 1.5), Checkpoint(2**62, MAC, 5)])
def test_checkpoint_round_trips(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "head.json"
    path.write_text("older", encoding="ascii")
    checkpoint.write(path)
    assert Checkpoint.read(path) == checkpoint

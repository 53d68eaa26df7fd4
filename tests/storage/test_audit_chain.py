"""Every change to the stored rows without the key is detected and reported with its row number."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machines_mcp.storage.audit_chain import MAX_FAULTS, Fault, Verification, chained, verify
from machines_mcp.storage.audit_checkpoint import EMPTY, GENESIS, Checkpoint, newest
from machines_mcp.storage.audit_log import AuditEntry, AuditLog
from machines_mcp.storage.audit_record import COLUMNS
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from tests.support.waiting import PATIENCE

KEY = bytes(range(32))
ROWS = 12
TEXTS = [name for name in COLUMNS if name not in ("seq", "at", "amount_cents")]
ENTRIES = [
    AuditEntry("call", tool="create_card", action_class="money", user_id="user-1", verdict="run", amount_cents=5000),
    AuditEntry("decision", tool="create_card", approval_id="0" * 32, by="dialog", verdict="granted"),
    AuditEntry("reveal", tool="reveal_card", card_id="card-1", sink="page", user_id="user-2", code="shown"),
    AuditEntry("alarm", code="output_filter.exact"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the database of an audit log with twelve rows."""
    folder = tmp_path_factory.mktemp("audit")

    async def write() -> None:
        store = Store(folder)
        audit = AuditLog(store, KEY, "policy-1")
        for number in range(ROWS):
            await audit.append(ENTRIES[number % len(ENTRIES)])
        await store.close()

    anyio.run(write)
    return (folder / "state.db").read_bytes()


@contextmanager
def copy(written: bytes) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.deserialize(_without_wal(written))
    try:
        yield db
    finally:
        db.close()


def _without_wal(written: bytes) -> bytes:
    # An in-memory database has no write-ahead log; these two header bytes select the journal mode.
    return written[:18] + b"\1\1" + written[20:]


def rows_of(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return db.execute("SELECT * FROM audit ORDER BY seq").fetchall()


def write_row(db: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    db.execute(f"INSERT INTO audit VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608


def faults(verification: Verification) -> list[tuple[int, str]]:
    return [(fault.seq, fault.what) for fault in verification.faults]


seqs = st.integers(1, ROWS)
texts = st.none() | st.text(st.characters(codec="utf-8"), max_size=20)
tried = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


def test_untouched_audit_is_intact(written: bytes) -> None:
    with copy(written) as db:
        verification = verify(db, KEY, newest(db))
        assert (verification.ok, verification.rows, verification.checkpoint) == (True, ROWS, newest(db))


def test_empty_audit_is_intact(written: bytes) -> None:
    with copy(written) as db:
        db.execute("DELETE FROM audit")
        assert verify(db, KEY, EMPTY) == Verification(0, (), EMPTY)


@tried
@given(data=st.data())
def test_changed_value_is_found_in_its_row(written: bytes, data: st.DataObject) -> None:
    seq = data.draw(seqs)
    column = data.draw(st.sampled_from([name for name in COLUMNS if name != "seq"]))
    kind = {"at": st.floats(allow_nan=False), "amount_cents": st.none() | st.integers(-(2**63), 2**63 - 1)}
    value = data.draw(kind.get(column, texts if column not in ("kind", "policy") else st.text(max_size=20)))
    with copy(written) as db:
        before = rows_of(db)
        try:
            db.execute(f"UPDATE audit SET {column} = ? WHERE seq = ?", (value, seq))  # noqa: S608
        except UnicodeEncodeError:
            return
        verification = verify(db, KEY)
        assert faults(verification) == ([] if rows_of(db) == before else [(seq, "changed")])


@tried
@given(
    seq=seqs, column=st.sampled_from([n for n in COLUMNS if n not in ("seq", "at", "amount_cents")]), raw=st.binary()
)
def test_invalid_text_is_found_in_its_row(written: bytes, seq: int, column: str, raw: bytes) -> None:
    with copy(written) as db:
        db.execute(f"UPDATE audit SET {column} = CAST(? AS TEXT) WHERE seq = ?", (b"\xff" + raw, seq))  # noqa: S608
        assert faults(verify(db, KEY)) == [(seq, "changed")]


@tried
@given(seq=seqs, mac=st.binary(max_size=40))
def test_changed_mac_is_found_from_its_row_on(written: bytes, seq: int, mac: bytes) -> None:
    with copy(written) as db:
        db.execute("UPDATE audit SET mac = ? WHERE seq = ?", (mac, seq))
        # The next row was chained to the original MAC.
        assert faults(verify(db, KEY)) == [(number, "changed") for number in (seq, seq + 1) if number <= ROWS]


@tried
@given(gone=st.sets(seqs, min_size=1, max_size=ROWS - 1))
def test_missing_rows_are_found_at_their_place(written: bytes, gone: set[int]) -> None:
    with copy(written) as db:
        checkpoint = newest(db)
        db.executemany("DELETE FROM audit WHERE seq = ?", [(seq,) for seq in gone])
        left = [seq for seq in range(1, ROWS + 1) if seq not in gone]
        holes = [before + 1 for before, seq in zip([0, *left], left, strict=False) if seq != before + 1]
        assert faults(verify(db, KEY)) == [(seq, "missing") for seq in holes]
        cut = [(ROWS, "truncated")] if ROWS in gone else []
        assert faults(verify(db, KEY, checkpoint)) == [*((seq, "missing") for seq in holes), *cut]


@tried
@given(gone=seqs)
def test_rows_moved_into_a_gap_are_found(written: bytes, gone: int) -> None:
    with copy(written) as db:
        db.execute("DELETE FROM audit WHERE seq = ?", (gone,))
        for seq in range(gone + 1, ROWS + 1):
            db.execute("UPDATE audit SET seq = seq - 1 WHERE seq = ?", (seq,))
        # Without its last row, the chain itself is intact. Only a checkpoint elsewhere shows the loss.
        assert faults(verify(db, KEY))[:1] == ([] if gone == ROWS else [(gone, "changed")])


@tried
@given(pair=st.tuples(seqs, seqs).filter(lambda pair: pair[0] != pair[1]), whole=st.booleans())
def test_swapped_rows_are_found(written: bytes, pair: tuple[int, int], whole: bool) -> None:
    first, second = sorted(pair)
    with copy(written) as db:
        rows = rows_of(db)
        a, b = rows[first - 1], rows[second - 1]
        db.execute("DELETE FROM audit WHERE seq IN (?, ?)", pair)
        mine = slice(1, None) if whole else slice(1, -1)  # with or without their MACs
        write_row(db, (first, *b[mine], *([] if whole else a[-1:])))
        write_row(db, (second, *a[mine], *([] if whole else b[-1:])))
        found = faults(verify(db, KEY))
        assert found[0] == (first, "changed")
        assert (second, "changed") in found


@tried
@given(at=st.integers(0, ROWS), forged=st.sampled_from(["copied mac", "random mac", "chained with another key"]))
def test_inserted_row_is_found(written: bytes, at: int, forged: str) -> None:
    with copy(written) as db:
        rows = rows_of(db)
        for seq in range(ROWS, at, -1):
            db.execute("UPDATE audit SET seq = seq + 1 WHERE seq = ?", (seq,))
        before = rows[at - 1][-1] if at else GENESIS
        values = (at + 1, *rows[0][1:-1])
        macs = {
            "copied mac": rows[0][-1],
            "random mac": os.urandom(32),
            "chained with another key": chained(bytes(32), before, values),
        }
        if forged == "copied mac" and at == 0:
            values = (1, *rows[1][1:-1])
        write_row(db, (*values, macs[forged]))
        assert faults(verify(db, KEY))[0] == (at + 1, "changed")


@pytest.mark.parametrize("seq", [0, -1, -(2**63)])
def test_row_before_the_first_is_found(written: bytes, seq: int) -> None:
    with copy(written) as db:
        write_row(db, (seq, *rows_of(db)[0][1:]))
        assert faults(verify(db, KEY)) == [(seq, "added")]


@tried
@given(left=st.integers(0, ROWS - 1), again=st.integers(0, ROWS))
def test_checkpoint_reveals_a_truncated_chain_even_if_it_grew_again(written: bytes, left: int, again: int) -> None:
    with copy(written) as db:
        checkpoint = newest(db)
        db.execute("DELETE FROM audit WHERE seq > ?", (left,))
        for number in range(left + 1, left + 1 + again):
            last = newest(db)
            values = (number, 5.0, "call", *[None] * 10, "policy-1")
            write_row(db, (*values, chained(KEY, bytes.fromhex(last.mac), values)))
        assert verify(db, KEY).ok
        assert faults(verify(db, KEY, checkpoint)) == [(ROWS, "truncated")]


def test_earlier_checkpoint_still_matches(written: bytes) -> None:
    with copy(written) as db:
        for seq, mac in db.execute("SELECT seq, mac FROM audit").fetchall():
            assert verify(db, KEY, Checkpoint(seq, mac.hex(), 0.0)).ok


def test_with_another_key_every_row_is_wrong_and_ten_are_listed(written: bytes) -> None:
    with copy(written) as db:
        verification = verify(db, bytes(32))
        assert faults(verification) == [(seq, "changed") for seq in range(1, MAX_FAULTS + 1)]


def test_dropped_table_is_found(written: bytes) -> None:
    with copy(written) as db:
        db.execute("DROP TABLE audit")
        assert verify(db, KEY).faults == (Fault(0, "gone"),)


def test_values_of_another_type_are_found(written: bytes) -> None:
    # A table of the same name without the type checks.
    with copy(written) as db:
        rows = rows_of(db)
        db.execute("DROP TABLE audit")
        db.execute(f"CREATE TABLE audit (seq INTEGER PRIMARY KEY, {', '.join(COLUMNS[1:])}, mac)")
        for row in rows:
            write_row(db, row)
        assert verify(db, KEY).ok
        db.execute("UPDATE audit SET tool = CAST('create_card' AS BLOB) WHERE seq = 3")
        db.execute("UPDATE audit SET mac = hex(mac) WHERE seq = 8")
        assert faults(verify(db, KEY)) == [(3, "changed"), (8, "changed"), (9, "changed")]


def test_each_row_has_a_unique_mac(written: bytes) -> None:
    with copy(written) as db:
        macs = [row[-1] for row in rows_of(db)]
    assert len(set(macs)) == ROWS
    assert {len(mac) for mac in macs} == {32}


def test_values_can_not_move_between_columns() -> None:
    empty: list[Any] = [1, 0.0, "call", *[None] * 10, "p"]
    macs = set()
    for place in range(3, 12):
        values = empty.copy()
        values[place] = "x"
        macs.add(chained(KEY, GENESIS, tuple(values)))
    assert len(macs) == 9


def grow(db: sqlite3.Connection, size: int) -> None:
    """Extend the chain to this many rows."""
    last = newest(db)
    before, rows = bytes.fromhex(last.mac), []
    for seq in range(last.seq + 1, size + 1):
        values = (seq, 5.0, "call", "get_balances", "read", "user-1", None, "run", *[None] * 5, "policy-1")
        before = chained(KEY, before, values)
        rows.append((*values, before))
    db.execute("BEGIN")
    db.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    db.execute("COMMIT")


@pytest.mark.check
def test_hundred_thousand_rows_are_verified_in_seconds(written: bytes) -> None:
    with copy(written) as db:
        grow(db, 100_000)
        db.execute("UPDATE audit SET user_id = 'user-2' WHERE seq = 99999")
        began = time.process_time()
        verification = verify(db, KEY)
        took = time.process_time() - began
    assert (verification.rows, faults(verification)) == (100_000, [(99_999, "changed")])
    assert took < 10


def test_rows_are_read_one_at_a_time(written: bytes) -> None:
    with copy(written) as db:
        grow(db, 3_000)
        tracemalloc.start()
        assert verify(db, KEY).ok
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 300_000


_WRITER = """
import sys, anyio
from pathlib import Path
from machines_mcp.storage.audit_log import AuditEntry, AuditLog
from machines_mcp.storage.database import Store

async def main():
    store = Store(Path(sys.argv[1]))
    audit = AuditLog(store, bytes(range(32)), "p", head_file=Path(sys.argv[1]) / "head.json")
    while True:
        audit.note(AuditEntry("call", tool="get_balances"))
        await audit.append(AuditEntry("call", tool="create_card", amount_cents=5000))
        print("written", flush=True)

anyio.run(main)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("after", [1, 2, 7, 25])
@pytest.mark.check
def test_killed_writer_leaves_an_intact_chain_with_every_acknowledged_row(tmp_path: Path, after: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        for _ in range(after):
            assert child.stdout.readline() == b"written\n"
    finally:
        child.kill()
        answered = after + child.communicate(timeout=PATIENCE)[0].count(b"\n")

    async def look() -> tuple[Verification, int]:
        store = Store(tmp_path)
        audit = AuditLog(store, KEY, "p")
        verification = await audit.verified(Checkpoint.read(tmp_path / "head.json"))
        await audit.append(AuditEntry("call"))
        assert (await audit.verified()).ok
        kept = len(await audit.rows(ANY_USER, tool="create_card", limit=100_000))
        await store.close()
        return verification, kept

    verification, kept = anyio.run(look)
    assert verification.ok
    assert kept >= answered

"""The state: opened once, transactional, and limited to its own file."""

from __future__ import annotations

import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag

from machines_mcp.sandbox import ledger
from machines_mcp.sandbox.state import TABLES, State
from tests.support.waiting import PATIENCE


def test_exception_rolls_back_every_change() -> None:
    state = State.open(None)
    with pytest.raises(RuntimeError), state.transaction():
        state.advance(10)
        state.insert("users", user_id="u", created_at=0.0, data_key=b"")
        raise RuntimeError
    assert state.rows("SELECT * FROM users") == []
    state.db.close()


def test_sealed_value_opens_only_for_its_purpose() -> None:
    state = State.open(None)
    sealed = state.seal("a secret", "cards")
    assert b"a secret" not in sealed
    assert state.unseal(sealed, "cards") == "a secret"
    with pytest.raises(InvalidTag):
        state.unseal(sealed, "labels")
    state.db.close()


def test_reset_empties_every_table_except_the_keys() -> None:
    state = State.open(None)
    tables = {row["name"] for row in state.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {*TABLES, "meta"}
    state.db.close()


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("kind", ["text", "database", "later version"])
def test_foreign_file_is_left_unchanged(tmp_path: Path, kind: str, reset: bool) -> None:
    file = tmp_path / "precious"
    if kind == "text":
        file.write_text("my notes", encoding="utf-8")
    else:
        if kind == "later version":
            State.open(file).db.close()
        database = sqlite3.connect(file)
        database.execute("CREATE TABLE precious (thing)")
        database.execute("PRAGMA user_version = 7")
        database.close()
    file.chmod(0o644)
    before = file.read_bytes()
    with pytest.raises(sqlite3.DatabaseError):
        State.open(file, reset=reset)
    assert file.read_bytes() == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_own_file_is_made_private_again(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.db"
    first = State.open(file)
    key = first.partner_key
    first.db.close()
    file.chmod(0o644)
    second = State.open(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert second.partner_key == key
    second.db.close()


def test_older_file_gains_missing_tables_and_keeps_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.db"
    first = State.open(file)
    everything = [row["name"] for row in first.rows("SELECT name FROM sqlite_master ORDER BY name")]
    first.insert("users", user_id="u", created_at=0.0, data_key=b"")
    ledger.enter(first, "u", "collateral", 500, at=1.0)
    first.db.executescript("DROP TABLE totals; DROP TRIGGER entry_written; DROP INDEX entries_by_posting;")
    first.db.close()
    second = State.open(file)
    assert [row["name"] for row in second.rows("SELECT name FROM sqlite_master ORDER BY name")] == everything
    assert ledger.standing(second, "u").collateral == 500
    second.db.close()


def test_waits_for_a_file_that_another_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sandbox.db"
    first = State.open(file)
    with ThreadPoolExecutor(1) as pool:
        first.db.execute("BEGIN IMMEDIATE")
        first.insert("users", user_id="u", created_at=0.0, data_key=b"")

        writing = threading.Event()

        def traced(*args: Any, **options: Any) -> sqlite3.Connection:
            database = connect(*args, **options)
            database.set_trace_callback(lambda statement: writing.set() if "BEGIN" in statement else None)
            return database

        def opened() -> str:
            second = State.open(file)
            with closing(second.db):
                return second.partner_key

        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", traced)
        key = pool.submit(opened)
        # Now it has read the file as it was before this write, and waits.
        assert writing.wait(PATIENCE)
        first.db.execute("COMMIT")
        assert key.result(timeout=PATIENCE) == first.partner_key
    first.db.close()

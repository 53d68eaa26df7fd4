"""The ports that living processes gave to somebody."""

from __future__ import annotations

from pathlib import Path

import pytest

from machines_mcp.storage.desk_note import GIVEN_FOLDER, GivenPorts
from machines_mcp.storage.process_locks import ProcessLocks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_port_is_found_while_its_process_lives(folder: Path) -> None:
    locks, others = ProcessLocks(folder), ProcessLocks(folder)
    mine, theirs = GivenPorts(folder, locks, "f"), GivenPorts(folder, others, "f")
    assert theirs.find() is None
    mine.note(4000)
    mine.note(4001)
    assert (theirs.find(), mine.find()) == (4001, 4001)
    assert GivenPorts(folder, others, "another policy").find() is None
    locks.close()
    assert theirs.find() is None
    assert list((folder / GIVEN_FOLDER).iterdir()) == []


def test_server_that_ends_takes_its_note_back(folder: Path) -> None:
    locks, others = ProcessLocks(folder), ProcessLocks(folder)
    mine, theirs = GivenPorts(folder, locks, "f"), GivenPorts(folder, others, "f")
    mine.note(4000)
    theirs.note(4002)
    mine.forget()
    mine.forget()
    assert mine.find() == 4002


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"port": "x", "fingerprint": "f"}', "é"])
def test_damaged_note_is_passed_over(folder: Path, text: str) -> None:
    locks = ProcessLocks(folder)
    ports = GivenPorts(folder, locks, "f")
    ports.note(4000)
    (folder / GIVEN_FOLDER / locks.own()).write_text(text, encoding="utf-8")
    (folder / GIVEN_FOLDER / "draft").write_text("{", encoding="utf-8")
    assert ports.find() is None
    assert (folder / GIVEN_FOLDER / "draft").exists()

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from machines_mcp.storage.process_locks import ProcessLocks
from tests.support.waiting import PATIENCE

OTHER = (
    "import sys, pathlib; from machines_mcp.storage.process_locks import ProcessLocks;"
    " locks = ProcessLocks(pathlib.Path(sys.argv[1])); print(locks.own(), flush=True); sys.stdin.read(); locks.close()"
)

Started = Callable[[], tuple[subprocess.Popen[str], str]]


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[ProcessLocks]:
    found = ProcessLocks(tmp_path)
    yield found
    found.close()


@pytest.fixture
def start_other(tmp_path: Path) -> Iterator[Started]:
    """Start another process and return its id."""
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=PATIENCE)


def test_disk_is_untouched_before_the_first_use(tmp_path: Path) -> None:
    ProcessLocks(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_this_process_is_alive_under_one_id_for_itself_and_others(tmp_path: Path, locks: ProcessLocks) -> None:
    assert locks.own() == locks.own()
    assert locks.alive(locks.own())
    assert ProcessLocks(tmp_path).alive(locks.own())


@pytest.mark.parametrize("stranger", ["0" * 32, "", "../keys", "no id at all"])
def test_unknown_process_is_dead(locks: ProcessLocks, stranger: str) -> None:
    locks.own()
    assert not locks.alive(stranger)


@pytest.mark.parametrize("end", ["kill", "close"])
@pytest.mark.check
def test_other_process_is_alive_until_it_ends(locks: ProcessLocks, start_other: Started, end: str) -> None:
    process, owner = start_other()
    assert locks.alive(owner)
    if end == "kill":
        os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    assert not locks.alive(owner)


@pytest.mark.check
def test_concurrent_checks_do_not_mistake_each_other_for_the_owner(tmp_path: Path, start_other: Started) -> None:
    import fcntl

    process, owner = start_other()
    process.kill()
    process.wait(timeout=PATIENCE)
    looking = os.open(tmp_path / "owners" / owner, os.O_RDWR)
    try:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not ProcessLocks(tmp_path).alive(owner)
    finally:
        os.close(looking)


@pytest.mark.check
def test_files_of_dead_processes_are_removed_and_live_ones_stay(
    tmp_path: Path, locks: ProcessLocks, start_other: Started
) -> None:
    dead, _ = start_other()
    _, living = start_other()
    dead.kill()
    dead.wait(timeout=PATIENCE)
    own = locks.own()
    assert {path.name for path in (tmp_path / "owners").iterdir()} == {own, living}


def test_lock_file_is_private_and_removed_on_a_clean_exit(tmp_path: Path) -> None:
    locks = ProcessLocks(tmp_path)
    path = tmp_path / "owners" / locks.own()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    locks.close()
    assert not path.exists()

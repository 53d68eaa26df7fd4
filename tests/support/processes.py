"""What a server leaves behind: its processes and their children, including orphans."""

from __future__ import annotations

import ctypes
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.waiting import PATIENCE, eventually

_PR_SET_CHILD_SUBREAPER = 36


@dataclass
class ProcessTree:
    """All processes that this process started and that are not in `before`, including orphans."""

    before: frozenset[int]

    def running(self, word: str = "") -> list[str]:
        """Return the command lines of running processes that contain this word."""
        lines = [_command(process) for process in _descendants() if process.pid not in self.before]
        return [line for line in lines if line is not None and (not word or word in line.split())]

    async def left_after(self, seconds: float, word: str = "") -> list[str]:
        """Return the processes left after this many seconds, or earlier once there are none."""
        with suppress(TimeoutError):
            await eventually(lambda: not self.running(word), seconds)
        return self.running(word)

    def kill(self) -> None:
        """Kill all of them."""
        for process in _descendants():
            if process.pid not in self.before:
                with suppress(psutil.Error):
                    process.kill()


@contextmanager
def process_tree() -> Iterator[ProcessTree]:
    """Adopt orphaned descendants, instead of the system's first process."""
    assert sys.platform == "linux"
    _set_subreaper(1)
    found = ProcessTree(frozenset(process.pid for process in _descendants()))
    try:
        yield found
    finally:
        found.kill()
        _set_subreaper(0)


def _descendants() -> set[psutil.Process]:
    """Look twice: a look misses a process whose parent ends meanwhile. At the next one, its parent is this process."""
    this = psutil.Process()
    first = this.children(recursive=True)
    return {*first, *this.children(recursive=True)}


def _set_subreaper(on: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, on, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _command(process: psutil.Process) -> str | None:
    """Return None once the process has ended, even before it is reaped."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline())
    except psutil.Error:
        return None


def rows(state: Path, query: str, *values: Any) -> list[sqlite3.Row]:
    """Query a server's database, as another process does."""
    path = state / "embedded" / "state.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PATIENCE)) as db:
        db.row_factory = sqlite3.Row
        return db.execute(query, values).fetchall()


def is_whole(state: Path) -> bool:
    """Whether the database of a server that has ended is consistent."""
    found = rows(state, "PRAGMA integrity_check")
    return [row[0] for row in found] in (["ok"], []) and not rows(state, "PRAGMA foreign_key_check")

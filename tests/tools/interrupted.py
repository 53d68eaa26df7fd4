"""Calls that lose their answer at the simulator, and what the tests of settling make of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.tools import services
from tests.tools.simulated import Caller

# Long enough to be seen, short enough to be waited for.
SETTLE_SECONDS = 0.6


@pytest.fixture
def settles_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Machines does not show at once did not happen: the simulator works on nothing after its answer."""
    monkeypatch.setattr(services, "RECONCILE_SECONDS", SETTLE_SECONDS)


async def lose(c: Caller, path: str, *, done: bool, method: str = "POST") -> None:
    """The next answer of `path` does not come; `done` says whether what was asked for happens all the same."""
    await c.control("/faults", kind="after" if done else "drop", path=path, method=method, exact=True)


async def in_doubt(c: Caller, tool: str, **arguments: Any) -> str:
    """The approval id of a call whose answer is lost."""
    error = await c.call(tool, **arguments)
    assert (error["code"], error["retryable"]) == ("outcome.unknown", True)
    return str(error["approval_id"])


@contextmanager
def state(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database of the server's state folder, written on leaving."""
    with closing(sqlite3.connect(folder / "embedded" / "state.db")) as db, db:
        yield db

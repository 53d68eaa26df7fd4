"""Calls that lose their response at the simulator, for the reconciliation tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.protocol import reconciliation
from machines_mcp.tools import services
from tests.support.tool_caller import ToolCaller
from tests.support.waiting import PATIENCE

# Long enough to observe, short enough to wait for.
SETTLE_SECONDS = 0.6


@pytest.fixture
def short_reconciliation_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time after which a missing effect counts as not executed. The simulator never acts after its
    response."""
    monkeypatch.setattr(services, "RECONCILE_SECONDS", SETTLE_SECONDS)
    # A busy machine takes long to reconcile, and the call is to have the outcome.
    monkeypatch.setattr(reconciliation, "CALL_SECONDS", PATIENCE)


async def lose_response(c: ToolCaller, path: str, *, done: bool, method: str = "POST") -> None:
    """Lose the next response of `path`. `done`: the request takes effect anyway."""
    await c.control("/faults", kind="after" if done else "drop", path=path, method=method, exact=True)


async def unresolved_call(c: ToolCaller, tool: str, **arguments: Any) -> str:
    """Make a call whose response is lost, and return its approval id."""
    error = await c.call(tool, **arguments)
    assert (error["code"], error["retryable"]) == ("outcome.unknown", True)
    return str(error["approval_id"])


@contextmanager
def state(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open the database of the server's state folder; commit when the block ends."""
    with closing(sqlite3.connect(folder / "embedded" / "state.db")) as db, db:
        yield db

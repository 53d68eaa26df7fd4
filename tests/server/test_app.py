"""The lifecycle of the application's parts."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from machines_mcp.server import app as app_module
from machines_mcp.server.app import App
from machines_mcp.server.settings_reader import read_settings
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture
def disk() -> Iterator[threading.Event]:
    """Blocks the store's thread until set. The fixture sets it at the end of the test."""
    free = threading.Event()
    yield free
    free.set()


async def test_closing_does_not_wait_for_a_hanging_disk(
    tmp_path: Path, disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "CLOSE_SECONDS", 0.05)
    app = App(read_settings({"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path)}))
    hanging, over, connections = threading.Event(), threading.Event(), list[sqlite3.Connection]()

    def hang(db: sqlite3.Connection) -> None:
        connections.append(db)
        hanging.set()
        disk.wait(PATIENCE)
        over.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app.store.run, hang)
        with anyio.fail_after(PATIENCE):
            while not hanging.is_set():
                await anyio.lowlevel.checkpoint()
        with anyio.fail_after(PATIENCE):
            await app.close()
        assert not over.is_set()
        disk.set()
    # The running transaction completed, and then the database was closed.
    with anyio.fail_after(PATIENCE):
        while not _closed(connections[0]):
            await anyio.lowlevel.checkpoint()


def _closed(db: sqlite3.Connection) -> bool:
    try:
        db.total_changes  # noqa: B018
    except sqlite3.ProgrammingError:
        return True
    return False

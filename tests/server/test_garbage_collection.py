"""Garbage collection while a server starts."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextvars import Context
from pathlib import Path

import anyio.lowlevel
import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli.main import main
from machines_mcp.server import stdio
from machines_mcp.server.settings import Settings


class Exited(Exception):
    """The command ended the process."""


@pytest.fixture(autouse=True)
def collecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the command end its process by an exception, and let no test change the next one's collection."""

    def end(code: int) -> None:
        raise Exited

    monkeypatch.setattr(os, "_exit", end)
    yield
    gc.unfreeze()
    gc.enable()


def serve(folder: Path, **settings: str) -> Result:
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder)} | settings
    # In a new context: the test's own one may say that an event loop is running.
    return Context().run(CliRunner().invoke, main, ["serve"], env=env)


def test_a_server_collects_nothing_until_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool]] = []
    # Some Pythons begin with frozen objects of their own.
    before = gc.get_freeze_count()

    async def running(settings: Settings) -> None:
        seen.append((gc.isenabled(), gc.get_freeze_count() > before))
        await anyio.lowlevel.checkpoint()
        seen.append((gc.isenabled(), gc.get_freeze_count() > before))

    monkeypatch.setattr(stdio, "serve", running)
    assert isinstance(serve(tmp_path).exception, Exited)
    assert seen == [(False, False), (True, True)]
    assert gc.isenabled()


def test_a_server_that_does_not_start_leaves_collection_on(tmp_path: Path) -> None:
    assert serve(tmp_path, MACHINES_ENV="none").exit_code == 2
    assert gc.isenabled()

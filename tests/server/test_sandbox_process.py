"""The simulator process that servers share: its last user ends it, and its parent reaps it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest

from machines_mcp.server import sandbox_process
from machines_mcp.server.sandbox_process import SandboxFailed, SandboxProcess
from tests.support.waiting import PATIENCE, eventually

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes by /proc"),
]


def children() -> set[int]:
    """Return this process's children that are alive or not yet reaped (zombies)."""
    found: set[int] = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # The thread ended meanwhile.
            found.update(int(child) for child in (task / "children").read_text().split())
    return found


async def until_gone(process: int) -> None:
    await eventually(lambda: process not in children())


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SandboxProcess]:
    sandbox = SandboxProcess(folder)
    try:
        with anyio.fail_after(PATIENCE):
            await sandbox.endpoint()
        yield sandbox
    finally:
        with anyio.CancelScope(shield=True):
            await sandbox.close()


async def test_the_last_user_to_close_ends_the_simulator(tmp_path: Path) -> None:
    before = children()
    async with opened(tmp_path):
        (process,) = children() - before
    await until_gone(process)


async def test_the_server_that_started_it_may_close_first_and_still_reaps_it(tmp_path: Path) -> None:
    before = children()
    async with opened(tmp_path) as first:
        (process,) = children() - before
        async with opened(tmp_path) as second:
            assert children() - before == {process}
            with anyio.fail_after(PATIENCE):
                await first.close()
            assert process in children()
            with anyio.fail_after(PATIENCE):
                assert (await second.endpoint()).base_url
    await until_gone(process)


@pytest.mark.parametrize("script", ["import time; time.sleep(600)", "print('no JSON')", "print('{}')", "pass"])
async def test_a_process_that_reports_no_address_is_rejected_and_ended(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    spawn = sandbox_process._spawn

    def odd(command: list[str], environment: dict[str, str]) -> object:
        process = spawn([sys.executable, "-c", script], environment)
        started.append(process.pid)
        return process

    monkeypatch.setattr(sandbox_process, "_spawn", odd)
    monkeypatch.setattr(sandbox_process, "START_SECONDS", 1.0)
    sandbox = SandboxProcess(tmp_path)
    with anyio.fail_after(PATIENCE), pytest.raises(SandboxFailed):
        await sandbox.endpoint()
    await sandbox.close()
    (process,) = started
    await until_gone(process)
    assert not (tmp_path / "sandbox.json").exists()


async def test_the_address_file_of_a_dead_simulator_is_ignored(tmp_path: Path) -> None:
    async with opened(tmp_path) as sandbox:
        first = await sandbox.endpoint()
    notes = json.loads((tmp_path / "sandbox.json").read_text(encoding="utf-8"))
    assert notes["base_url"] == first.base_url
    async with opened(tmp_path) as sandbox:
        again = json.loads((tmp_path / "sandbox.json").read_text(encoding="utf-8"))
        assert again["instance"] != notes["instance"]

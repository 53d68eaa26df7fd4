"""The simulator that servers share: who starts it lets go of it, and takes note of its end whenever that comes."""

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
    """The processes that this one started and has not taken note of the end of: alive, or ended (zombies)."""
    found: set[int] = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
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


async def test_the_last_to_let_go_ends_it(tmp_path: Path) -> None:
    before = children()
    async with opened(tmp_path):
        (process,) = children() - before
    await until_gone(process)


async def test_who_started_it_may_go_first_and_it_is_taken_note_of_when_it_ends(tmp_path: Path) -> None:
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
async def test_one_that_does_not_say_where_it_is_is_no_simulator_and_is_ended(
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


async def test_notes_of_one_that_is_gone_lead_nowhere(tmp_path: Path) -> None:
    async with opened(tmp_path) as sandbox:
        first = await sandbox.endpoint()
    notes = json.loads((tmp_path / "sandbox.json").read_text(encoding="utf-8"))
    assert notes["base_url"] == first.base_url
    async with opened(tmp_path) as sandbox:
        again = json.loads((tmp_path / "sandbox.json").read_text(encoding="utf-8"))
        assert again["instance"] != notes["instance"]

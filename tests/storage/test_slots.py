"""Slots limit what all processes of a folder do at once. Each `Slots` object here stands for another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.slots import Slots, SlotsTaken
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

BRIEF = 0.05
HOLDER = (
    "import anyio, pathlib, sys; from machines_mcp.storage.slots import Slots\n"
    "async def main():\n"
    "    await Slots(pathlib.Path(sys.argv[1]), 'vault', 1).take(5)\n"
    "    print('taken', flush=True); sys.stdin.read()\n"
    "anyio.run(main)"
)


async def free(slots: Slots) -> bool:
    """Return whether a slot can be had now."""
    try:
        async with slots.taken(BRIEF):
            return True
    except SlotsTaken:
        return False


async def test_processes_share_the_slots_of_a_name(tmp_path: Path) -> None:
    one, other = Slots(tmp_path, "vault", 2), Slots(tmp_path, "vault", 2)
    first, second = await one.take(PATIENCE), await other.take(PATIENCE)
    assert not await free(one) and not await free(other)
    assert await free(Slots(tmp_path, "page", 1))
    first.free()
    assert await free(other)
    second.free()
    assert await free(one)


async def test_all_who_wait_get_a_slot_and_never_too_many_at_once(tmp_path: Path) -> None:
    slots, met, done, held, most = Slots(tmp_path, "vault", 2), anyio.Event(), 0, 0, 0

    async def use() -> None:
        nonlocal done, held, most
        async with slots.taken(PATIENCE):
            held += 1
            most = max(most, held)
            if held == 2:
                met.set()
            await met.wait()
            held -= 1
            done += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(use)
    assert (done, most) == (12, 2)


async def test_a_cancelled_wait_takes_no_slot(tmp_path: Path) -> None:
    slots, other = Slots(tmp_path, "vault", 1), Slots(tmp_path, "vault", 1)
    held = await other.take(PATIENCE)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(slots.take, PATIENCE)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert not await free(slots)
    held.free()
    assert await free(slots)


async def test_an_unusable_folder_is_reported_and_keeps_no_slot(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "file", "vault", 1)
    (tmp_path / "file").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await slots.take(PATIENCE)


@pytest.mark.check
def test_a_killed_process_frees_its_slot(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "taken\n"
        slots = Slots(tmp_path, "vault", 1)
        assert not anyio.run(free, slots)
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)
    assert anyio.run(free, Slots(tmp_path, "vault", 1))

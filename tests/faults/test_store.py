"""An unwritable state folder: changes are refused before they are sent, and nothing is lost.

tests/storage/test_database.py tests the database alone. Here a server uses the folder, and its simulator another.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import anyio
import psutil
import pytest

from tests.faults.running_server import RunningServer, running_server
from tests.support.processes import is_whole, rows
from tests.support.running_sandbox import end, first_line

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux process limits and mounts"),
]

LIMIT = {"limit_amount_cents": 1000, "limit_frequency": "per30DayPeriod"}
REFUSED = ("state.unavailable", "partner.unavailable")


@contextmanager
def simulator_beside(state: Path) -> Iterator[None]:
    """Run a simulator with its state elsewhere, which a server over `state` finds."""
    command = [sys.executable, "-m", "machines_mcp.sandbox", "--port", "0", "--leased"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        folder = state / "embedded"
        folder.mkdir(parents=True, mode=0o700)
        (folder / "sandbox.json").write_bytes(first_line(process))
        yield
    finally:
        end(process)


@pytest.fixture(scope="module")
async def server(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    folder = tmp_path_factory.mktemp("server")
    with simulator_beside(folder / "state"):
        async with running_server(folder) as found:
            yield found


@contextmanager
def full_disk(served: RunningServer) -> Iterator[None]:
    """Prevent the server's files from growing, as on a full disk."""
    process = psutil.Process(served.served.process.pid)
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, before)


@contextmanager
def locked(served: RunningServer) -> Iterator[None]:
    """Hold a write lock from another process."""
    with closing(sqlite3.connect(served.state / "embedded" / "state.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


# Each call in turn waits for the lock, so one call is enough.
FAULTS = [
    pytest.param(full_disk, 4, id="a full disk"),
    pytest.param(locked, 1, id="a lock", marks=pytest.mark.check),
]


@pytest.mark.parametrize(("fault", "calls"), FAULTS)
@pytest.mark.check
async def test_unrecordable_change_is_refused_and_works_again_later(
    server: RunningServer, fault: Callable[[RunningServer], AbstractContextManager[None]], calls: int
) -> None:
    user_id = await server.new_user()
    first = await server.call("create_card", user_id=user_id, **LIMIT)
    entries = len(rows(server.state, "SELECT id FROM mutations"))
    with fault(server):
        wanted = [("create_card", {"user_id": user_id, **LIMIT})] * 2
        wanted += [("close_card", {"user_id": user_id, "card_id": first["card_id"]})]
        wanted += [("create_deposit", {"user_id": user_id, "currency": "rusd", "network": "base", "amount": 5})]
        answers = await server.calls([*wanted[:calls], ("list_cards", {"user_id": user_id})])
        assert [answer.get("code") for answer in answers[:-1]] == ["state.unavailable"] * calls
        assert [card["card_id"] for card in answers[-1]["cards"]] == [first["card_id"]]
        assert [card["status"] for card in await server.upstream_state(user_id)] == ["active"]
        assert await server.upstream_state(user_id, "deposits") == []
    assert len(rows(server.state, "SELECT id FROM mutations")) == entries
    second = await server.call("create_card", user_id=user_id, **LIMIT)
    assert {card["cardId"] for card in await server.upstream_state(user_id)} == {first["card_id"], second["card_id"]}
    assert is_whole(server.state)


@contextmanager
def disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a separate disk at `folder`, if permitted."""
    folder.mkdir(mode=0o700)
    if os.geteuid() != 0 or _mount("-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)) != 0:
        pytest.skip("mounting a disk requires root")
    try:
        yield
    finally:
        assert subprocess.run(["umount", "-l", folder], check=False).returncode == 0


def _mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], check=False, stderr=subprocess.DEVNULL).returncode


def fill(folder: Path) -> Path:
    """Fill the disk completely."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 512, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


@pytest.mark.check
async def test_full_disk_refuses_changes_and_recovers(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with disk(state, "4m"), simulator_beside(state):
        async with running_server(tmp_path, state) as served:
            user_id = await served.new_user()
            ballast = fill(state)
            answers = await served.calls([("create_card", {"user_id": user_id, **LIMIT})] * 5)
            assert {answer["code"] for answer in answers} == {"state.unavailable"}
            assert await served.upstream_state(user_id) == []
            assert (await served.call("list_cards", user_id=user_id))["cards"] == []
            ballast.unlink()
            made = await served.call("create_card", user_id=user_id, **LIMIT)
            assert [card["cardId"] for card in await served.upstream_state(user_id)] == [made["card_id"]]
        assert is_whole(state)


@pytest.mark.check
async def test_read_only_disk_refuses_every_change(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with disk(state, "4m"), simulator_beside(state):
        async with running_server(tmp_path, state) as served:
            user_id = await served.new_user()
            await served.served.hang_up()
            await served.served.ended()
        assert _mount("-o", "remount,ro", str(state)) == 0
        later = tmp_path / "later"
        await anyio.Path(later).mkdir(mode=0o700)
        async with running_server(later, state) as served:
            answer = await served.call("create_card", user_id=user_id, **LIMIT)
            assert answer["code"] in REFUSED
            assert await served.upstream_state(user_id) == []
        # Checking the database requires a writable disk.
        assert _mount("-o", "remount,rw", str(state)) == 0
        assert is_whole(state)

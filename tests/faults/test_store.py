"""A state folder that can't be written: what changes something is refused before it is sent, and nothing is lost.

tests/storage/test_database.py tests the database alone. Here a real server has the folder, and its simulator another.
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

from tests.faults.processes import is_whole, rows
from tests.faults.shop import Shop, shop
from tests.sandbox.running import end, first_line

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="limits of a running process, and disks made for a test"),
]

LIMIT = {"limit_amount_cents": 1000, "limit_frequency": "per30DayPeriod"}
REFUSED = ("state.unavailable", "partner.unavailable")


@contextmanager
def simulator_beside(state: Path) -> Iterator[None]:
    """A simulator that keeps its own state elsewhere, and that a server over `state` finds."""
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
async def server(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with simulator_beside(folder / "state"):
        async with shop(folder) as found:
            yield found


@contextmanager
def no_room(served: Shop) -> Iterator[None]:
    """The server can let no file grow, as on a disk that is full."""
    process = psutil.Process(served.served.process.pid)
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, before)


@contextmanager
def locked(served: Shop) -> Iterator[None]:
    """Another process writes, and does not come to an end."""
    with closing(sqlite3.connect(served.state / "embedded" / "state.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


# A lock is waited for by each call in turn, so one of them will do.
FAULTS = [
    pytest.param(no_room, 4, id="a full disk"),
    pytest.param(locked, 1, id="a lock", marks=pytest.mark.check),
]


@pytest.mark.parametrize(("fault", "calls"), FAULTS)
async def test_what_can_not_be_written_down_is_not_done_and_works_again_after(
    server: Shop, fault: Callable[[Shop], AbstractContextManager[None]], calls: int
) -> None:
    user_id = await server.user()
    first = await server.call("create_card", user_id=user_id, **LIMIT)
    entries = len(rows(server.state, "SELECT id FROM mutations"))
    with fault(server):
        wanted = [("create_card", {"user_id": user_id, **LIMIT})] * 2
        wanted += [("close_card", {"user_id": user_id, "card_id": first["card_id"]})]
        wanted += [("create_deposit", {"user_id": user_id, "currency": "rusd", "network": "base", "amount": 5})]
        answers = await server.calls([*wanted[:calls], ("list_cards", {"user_id": user_id})])
        assert [answer.get("code") for answer in answers[:-1]] == ["state.unavailable"] * calls
        assert [card["card_id"] for card in answers[-1]["cards"]] == [first["card_id"]]
        assert [card["status"] for card in await server.held(user_id)] == ["active"]
        assert await server.held(user_id, "deposits") == []
    assert len(rows(server.state, "SELECT id FROM mutations")) == entries
    second = await server.call("create_card", user_id=user_id, **LIMIT)
    assert {card["cardId"] for card in await server.held(user_id)} == {first["card_id"], second["card_id"]}
    assert is_whole(server.state)


@contextmanager
def disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own at `folder`, for those who may make one."""
    folder.mkdir(mode=0o700)
    if os.geteuid() != 0 or _mount("-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)) != 0:
        pytest.skip("only who administers this machine can make a disk")
    try:
        yield
    finally:
        assert subprocess.run(["umount", "-l", folder], check=False).returncode == 0


def _mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], check=False, stderr=subprocess.DEVNULL).returncode


def fill(folder: Path) -> Path:
    """Leave no byte free."""
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
async def test_a_disk_without_a_byte_left_refuses_and_then_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with disk(state, "4m"), simulator_beside(state):
        async with shop(tmp_path, state) as served:
            user_id = await served.user()
            ballast = fill(state)
            answers = await served.calls([("create_card", {"user_id": user_id, **LIMIT})] * 5)
            assert {answer["code"] for answer in answers} == {"state.unavailable"}
            assert await served.held(user_id) == []
            assert (await served.call("list_cards", user_id=user_id))["cards"] == []
            ballast.unlink()
            made = await served.call("create_card", user_id=user_id, **LIMIT)
            assert [card["cardId"] for card in await served.held(user_id)] == [made["card_id"]]
        assert is_whole(state)


@pytest.mark.check
async def test_a_disk_that_can_only_be_read_lets_nothing_happen(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with disk(state, "4m"), simulator_beside(state):
        async with shop(tmp_path, state) as served:
            user_id = await served.user()
            await served.served.hang_up()
            await served.served.ended()
        assert _mount("-o", "remount,ro", str(state)) == 0
        later = tmp_path / "later"
        await anyio.Path(later).mkdir(mode=0o700)
        async with shop(later, state) as served:
            answer = await served.call("create_card", user_id=user_id, **LIMIT)
            assert answer["code"] in REFUSED
            assert await served.held(user_id) == []
        # To look at the database alone takes more than that.
        assert _mount("-o", "remount,rw", str(state)) == 0
        assert is_whole(state)

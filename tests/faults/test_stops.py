"""However and whenever a server ends, it exits in time, leaves no process, and its data stays consistent.

Its end by stdin, a terminal or a client that does not read is tested in tests/protocol/test_stdio_end.py.
"""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.faults.running_server import RunningServer, running_server
from tests.support.processes import ProcessTree, is_whole, process_tree, rows
from tests.support.server_process import SERVER
from tests.support.waiting import SHORTER_THAN_A_WAIT, eventually

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans"),
]

LIMIT = {"limit_frequency": "per30DayPeriod"}
_PENDING = "SELECT id FROM mutations WHERE state = 'pending'"
_amounts = itertools.count(1000)

Stop = Callable[[RunningServer, list[str]], Awaitable[None]]


async def hang_up(served: RunningServer, numbers: list[str]) -> None:
    await served.served.hang_up()


async def cancel_and_hang_up(served: RunningServer, numbers: list[str]) -> None:
    for number in numbers:
        cancelled = {"method": "notifications/cancelled", "params": {"requestId": number}}
        await served.served.send({"jsonrpc": "2.0"} | cancelled)
    await served.served.hang_up()


async def kill(served: RunningServer, numbers: list[str]) -> None:
    served.served.process.kill()


def send(name: str) -> Stop:
    async def stop(served: RunningServer, numbers: list[str]) -> None:
        served.served.process.send_signal(getattr(signal, name))

    return stop


PARENT = ("-m", "tests.faults.relay_client")
WAYS: dict[str, Stop] = {
    "end of input": hang_up,
    "cancelled, then end of input": cancel_and_hang_up,
    "SIGTERM": send("SIGTERM"),
    "SIGINT": send("SIGINT"),
    "SIGHUP": send("SIGHUP"),
    "the client is killed": kill,
}


# `make test` tries these; `make check` tries all.
QUICK = ("cancelled, then end of input", "the client is killed")


def in_full(quick: tuple[str, ...]) -> list[Any]:
    """Return all ways, with all but the quick ones marked for `make check`."""
    return [way if way in quick else pytest.param(way, marks=pytest.mark.check) for way in WAYS]


@pytest.fixture
def left() -> Iterator[ProcessTree]:
    with process_tree() as found:
        yield found


@dataclass
class UserWithCard:
    """A user with a card and an unpaid deposit."""

    user_id: str
    card_id: str
    deposit_id: str

    def work(self) -> list[tuple[str, dict[str, Any]]]:
        """Return calls of every kind: some change state, some wait, some start processes."""
        mine = {"user_id": self.user_id}
        cards = [("create_card", mine | LIMIT | {"limit_amount_cents": next(_amounts)}) for _ in range(3)]
        reveals = [("reveal_card", mine | {"card_id": self.card_id, "sink": sink}) for sink in ("none", "page")]
        wait = ("get_deposit", mine | {"deposit_id": self.deposit_id, "wait_seconds": 50})
        return [*reveals, *cards, wait, ("list_cards", mine), ("get_balances", mine)]


async def prepare_customer(served: RunningServer) -> UserWithCard:
    user_id = await served.new_user()
    card = await served.call("create_card", user_id=user_id, limit_amount_cents=999, **LIMIT)
    deposit = await served.call("create_deposit", user_id=user_id, currency="rusd", network="base", amount=5)
    return UserWithCard(user_id, card["card_id"], deposit["deposit_id"])


async def ended(way: str, served: RunningServer, left: ProcessTree, numbers: list[str]) -> None:
    """Stop the server this way. It must exit sooner than its calls would, and its processes right after."""
    await WAYS[way](served, numbers)
    assert await left.left_after(SHORTER_THAN_A_WAIT, "serve") == []
    assert await left.left_after(SHORTER_THAN_A_WAIT) == []


def started(way: str, folder: Path, state: Path) -> AbstractAsyncContextManager[RunningServer]:
    return running_server(folder, state, command=PARENT if WAYS[way] is kill else SERVER)


async def final_responses(served: RunningServer, numbers: list[str]) -> dict[str, dict[str, Any]]:
    """Collect its last responses."""
    with suppress(anyio.EndOfStream):
        await served.wait_for(numbers)
    return {number: served.answers[number] for number in numbers if number in served.answers}


async def run(way: str, folder: Path, state: Path, customer: UserWithCard, left: ProcessTree, pause: float) -> set[str]:
    """Run a server that ends amid its work. Return the cards it confirmed."""
    await anyio.Path(folder).mkdir(mode=0o700)
    async with started(way, folder, state) as served:
        # The startup time does not count towards the exit time.
        await served.call("status")
        numbers = await served.begin(customer.work())
        await anyio.sleep(pause)
        try:
            await ended(way, served, left, numbers)
        except AssertionError as error:
            raise AssertionError(f"{way} after {pause:.3f} s") from error
        answers = (await final_responses(served, numbers)).values()
    assert is_whole(state)
    return {answer["card_id"] for answer in answers if answer.get("limit_amount_cents", 0) >= 1000}


async def judge(served: RunningServer, customer: UserWithCard, said: set[str]) -> None:
    """Check that no confirmed card is missing or doubled."""
    cards: list[dict[str, Any]] = []
    page: dict[str, Any] = {}
    while not cards or page.get("next_cursor"):
        cursor = {"cursor": page["next_cursor"]} if page else {}
        page = await served.call("list_cards", user_id=customer.user_id, limit=100, **cursor)
        cards += page["cards"]
    twice = [cents for cents, count in Counter(card["limit_amount_cents"] for card in cards).items() if count > 1]
    assert twice == []
    assert said <= {card["card_id"] for card in cards}


@pytest.mark.parametrize(
    ("lives", "ways"),
    [(1, QUICK[1:]), (2, tuple(WAYS)), pytest.param(10, tuple(WAYS), marks=pytest.mark.long)],
    ids=["one", "two of each way", "ten of each way"],
)
async def test_server_exits_in_time_with_its_processes_and_consistent_data(
    tmp_path: Path, left: ProcessTree, lives: int, ways: tuple[str, ...]
) -> None:
    choice, state = random.Random(lives), tmp_path / "state"  # noqa: S311
    async with running_server(tmp_path, state) as served:
        customer = await prepare_customer(served)
        await ended("end of input", served, left, [])
    said: set[str] = set()
    for life, way in itertools.product(range(lives), ways):
        pause = choice.choice((0, 0.3, 1, 2)) * choice.random()
        said |= await run(way, tmp_path / f"{life} {way}", state, customer, left, pause)
    async with running_server(tmp_path, state) as served:
        await judge(served, customer, said)


@pytest.mark.parametrize("way", in_full(QUICK))
async def test_server_can_be_stopped_before_it_is_ready(tmp_path: Path, left: ProcessTree, way: str) -> None:
    async with started(way, tmp_path, tmp_path / "state") as served:
        await anyio.sleep(0.4 * random.random())  # noqa: S311
        await ended(way, served, left, [])
    assert is_whole(tmp_path / "state")


async def pending(state: Path) -> list[str]:
    """Return the pending mutations, once there is one."""
    return [row["id"] for row in await eventually(lambda: rows(state, _PENDING))]


@pytest.mark.parametrize("way", in_full(QUICK[:1]))
async def test_sent_mutation_is_waited_for_and_journaled(tmp_path: Path, left: ProcessTree, way: str) -> None:
    state = tmp_path / "state"
    async with started(way, tmp_path, state) as served:
        customer = await prepare_customer(served)
        await served.break_next("delay", "POST", "/cards", delaySeconds=1)
        wanted = {"user_id": customer.user_id, "limit_amount_cents": 1, **LIMIT}
        numbers = await served.begin([("create_card", wanted)])
        (entry,) = await pending(state)
        await ended(way, served, left, numbers)
    ((became, reference),) = rows(state, "SELECT state, reference FROM mutations WHERE id = ?", entry)
    assert became == "done"
    async with running_server(tmp_path, state) as served:
        assert reference in {card["cardId"] for card in await upstream_cards(served, customer)}
        assert len(await upstream_cards(served, customer)) == 2


async def upstream_cards(served: RunningServer, customer: UserWithCard) -> list[dict[str, Any]]:
    await served.call("list_cards", user_id=customer.user_id)
    return await served.upstream_state(customer.user_id)


@pytest.mark.check
@pytest.mark.parametrize("way", WAYS)
async def test_unanswered_mutation_does_not_delay_the_exit_forever(tmp_path: Path, left: ProcessTree, way: str) -> None:
    state = tmp_path / "state"
    async with started(way, tmp_path, state) as served:
        customer = await prepare_customer(served)
        await served.break_next("delay", "POST", "/cards", delaySeconds=60)
        numbers = await served.begin([("create_card", {"user_id": customer.user_id, **LIMIT, "limit_amount_cents": 1})])
        (entry,) = await pending(state)
        await ended(way, served, left, numbers)
    assert is_whole(state)
    ((became,),) = rows(state, "SELECT state FROM mutations WHERE id = ?", entry)
    assert became in ("pending", "unknown")


async def test_leftover_process_is_detected(left: ProcessTree) -> None:
    command = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    await anyio.run_process([sys.executable, "-c", command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = await left.left_after(0)
    assert len(found) == 1
    assert "time.sleep(60)" in found[0]

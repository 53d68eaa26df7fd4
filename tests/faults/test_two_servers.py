"""Two servers over one folder: nothing is lost or doubled, and each can finish the other's calls.

Their shared limits are tested in tests/permissions/test_limits.py, their shared simulator in tests/journeys.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.faults.running_server import RunningServer, running_server
from tests.support.processes import is_whole, rows
from tests.support.server_process import environment
from tests.support.waiting import PATIENCE, eventually

# Two servers and a simulator take too long for `make test`.
pytestmark = [pytest.mark.anyio, pytest.mark.check]

_POLL_SECONDS = 0.05
_amounts = itertools.count(1000)
_BEGUN = "SELECT approval_id FROM mutations WHERE state = 'pending'"
_OWNER = "SELECT owner FROM approvals WHERE id = ?"
_UNFINISHED = "SELECT count(*) FROM mutations WHERE state NOT IN ('done', 'rejected', 'unsent')"

Work = tuple[str, dict[str, Any]]
Answer = dict[str, Any]


def calls_of(user_id: str, cards: int) -> list[Work]:
    limits = [{"limit_amount_cents": next(_amounts), "limit_frequency": "per30DayPeriod"} for _ in range(cards)]
    return [("create_card", {"user_id": user_id} | limit) for limit in limits]


async def run_concurrently(
    one: RunningServer,
    other: RunningServer,
    works: tuple[list[Work], list[Work]],
    do_all: Callable[[RunningServer, list[Work]], Awaitable[list[Answer]]] = RunningServer.calls,
) -> tuple[list[Answer], list[Answer]]:
    """Send each server its calls concurrently and return the responses."""
    answers: dict[int, list[Answer]] = {}

    async def do(number: int, served: RunningServer) -> None:
        answers[number] = await do_all(served, works[number])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(do, 0, one)
        tasks.start_soon(do, 1, other)
    return answers[0], answers[1]


def calls_to_repeat(works: list[Work], answers: list[Answer]) -> list[Work]:
    """Return the calls that the responses say to repeat."""
    return [
        (tool, arguments | answer["next_steps"][0]["arguments"])
        for (tool, arguments), answer in zip(works, answers, strict=True)
        if answer.get("code") in ("outcome.unknown", "rate.limited", "partner.unavailable")
    ]


async def outcomes(served: RunningServer, works: list[Work]) -> list[Answer]:
    """Repeat the calls until none has to be repeated. The other server may be reconciling some of them as well."""
    answers = await served.calls(works)
    with anyio.fail_after(PATIENCE):
        while calls_to_repeat(works, answers):
            await anyio.sleep(_POLL_SECONDS)
            answers = await served.calls(works)
    return answers


@pytest.mark.parametrize("cards", [8, 60], ids=["a few", "many"])
async def test_concurrent_calls_of_two_servers_all_execute_once(tmp_path: Path, cards: int) -> None:
    state = tmp_path / "state"
    for name in ("one", "other"):
        await anyio.Path(tmp_path / name).mkdir(mode=0o700)
    async with (
        running_server(tmp_path / "one", state) as one,
        running_server(tmp_path / "other", state) as other,
    ):
        user_id = await one.new_user()
        await one.break_next("after", "POST", "/cards", calls=cards // 2)
        works = calls_of(user_id, cards), calls_of(user_id, cards)
        first = await run_concurrently(one, other, works)
        made = {answer["card_id"] for answer in itertools.chain(*first) if "card_id" in answer}
        unresolved_calls = [calls_to_repeat(*each) for each in zip(works, first, strict=True)]
        assert len(unresolved_calls[0]) + len(unresolved_calls[1]) == cards // 2
        # Each server reconciles the other's unresolved calls, both at the same time.
        second = await run_concurrently(one, other, (unresolved_calls[1], unresolved_calls[0]), outcomes)
        third = await run_concurrently(one, other, (unresolved_calls[0], unresolved_calls[1]), outcomes)
        assert [answer for answer in itertools.chain(*second, *third) if "card_id" not in answer] == []
        found = [answer["card_id"] for answer in itertools.chain(*second)]
        assert Counter(found) == Counter(answer["card_id"] for answer in itertools.chain(*third))
        made |= set(found)
        held = await one.upstream_state(user_id)
        assert len(made) == 2 * cards
        assert Counter(card["cardId"] for card in held) == Counter(made)
        assert rows(state, _UNFINISHED)[0][0] == 0
    assert is_whole(state)


async def test_one_approval_used_by_both_servers_runs_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for name in ("one", "other"):
        await anyio.Path(tmp_path / name).mkdir(mode=0o700)
    async with running_server(tmp_path / "one", state) as one, running_server(tmp_path / "other", state) as other:
        user_id = await one.new_user()
        await one.break_next("status", "POST", "/cards", status=429, retryAfter=600)
        works = calls_of(user_id, 1)
        turned_away = await one.calls(works)
        repeated = calls_to_repeat(works, turned_away) * 5
        answers = await run_concurrently(one, other, (repeated, repeated))
        (held,) = await one.upstream_state(user_id)
        made = {answer["card_id"] for answer in itertools.chain(*answers) if "card_id" in answer}
        assert made == {held["cardId"]}
    assert is_whole(state)


async def test_call_running_in_one_server_is_left_to_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for name in ("one", "other"):
        await anyio.Path(tmp_path / name).mkdir(mode=0o700)
    async with running_server(tmp_path / "one", state) as one, running_server(tmp_path / "other", state) as other:
        user_id = await one.new_user()
        await one.break_next("delay", "POST", "/cards", delaySeconds=3)
        ((tool, arguments),) = calls_of(user_id, 1)
        begun = await one.begin([(tool, arguments)])
        found = await eventually(lambda: rows(state, _BEGUN))
        named = arguments | {"approval_id": found[0]["approval_id"]}
        owner = rows(state, _OWNER, named["approval_id"])[0][0]
        meanwhile = await other.calls([(tool, named)] * 3)
        assert rows(state, _OWNER, named["approval_id"])[0][0] == owner
        await one.wait_for(begun)
        made = one.answers[begun[0]]
        assert {answer.get("card_id", made["card_id"]) for answer in meanwhile} == {made["card_id"]}
        assert await other.call(tool, **named) == made
        assert [card["cardId"] for card in await one.upstream_state(user_id)] == [made["card_id"]]


async def test_a_freeze_stops_the_changes_of_both_servers_at_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for name in ("one", "other"):
        await anyio.Path(tmp_path / name).mkdir(mode=0o700)

    async def command(*words: str) -> None:
        with anyio.fail_after(PATIENCE):
            await anyio.run_process([sys.executable, "-m", "machines_mcp", *words], env=environment(state))

    async with running_server(tmp_path / "one", state) as one, running_server(tmp_path / "other", state) as other:
        users = [await one.new_user() for _ in range(2)]
        works = [("create_card", {"user_id": user}) for user in users]
        before = [await served.calls(works) for served in (one, other)]
        await command("freeze")
        frozen = [await served.calls(works) for served in (one, other)]
        assert {answer["code"] for answer in itertools.chain(*frozen)} == {"policy.frozen"}
        card = before[0][0]["card_id"]
        locked = await other.call("update_card", user_id=users[0], card_id=card, status="locked")
        assert locked["status"] == "locked"
        await command("freeze", "--user", users[1])
        await command("unfreeze")
        for served in (one, other):
            made, refused = await served.calls(works)
            assert (made["status"], refused["code"]) == ("active", "policy.frozen")
        assert [len(await one.upstream_state(user)) for user in users] == [4, 2]
    assert is_whole(state)

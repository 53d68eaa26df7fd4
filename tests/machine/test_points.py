"""A process that is killed at any point of a call leaves nothing doubled, lost, or in doubt for long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.machine.callers import ask, call, decide, deposit
from tests.machine.ending import settle
from tests.machine.network import Fault
from tests.machine.process import Process
from tests.machine.rows import approvals, reading
from tests.machine.upstream import Habits
from tests.machine.world import Ask, Step, World

IGNORED = Habits(honours_keys=False)
HONOURED = Habits(honours_keys=True, signs_after=0.0)
LIMIT = {"limit_amount_cents": 1_234, "limit_frequency": "allTime"}


@contextmanager
def granted(tool: str, habits: Habits) -> Iterator[tuple[World, Ask]]:
    """A world in which such a call was asked for and approved."""
    world = World(habits)
    try:
        what = Ask(tool, {"user_id": "user-1"})
        if tool == "create_withdrawal":
            terms = {"amount_cents": 2_500, "currency": "usdc", "network": "base", "address": "0x" + "cd" * 20}
            quoted: list[Any] = world.step([("A", lambda one: one.call("quote_withdrawal", what.arguments | terms))])
            what.arguments["quote_id"] = quoted[0]["quote_id"]
        elif tool == "create_card":
            what.arguments |= LIMIT | {"label": "a label"}
        else:
            made = Ask("create_card", {"user_id": "user-1"})
            _through(world, made)
            what.arguments["card_id"] = world.upstream.made("card")[0].id
            what.arguments |= LIMIT if tool == "update_card" else {}
        world.step([("A", lambda process: ask(world, process, what))])
        world.step([("A", lambda process: decide(process, what.id or "", yes=True))])
        yield world, what
    finally:
        world.close()


def _through(world: World, what: Ask) -> None:
    world.step([("A", lambda process: ask(world, process, what))])
    world.step([("A", lambda process: decide(process, what.id or "", yes=True))])
    world.step([("A", lambda process: call(world, process, what))])


@dataclass
class Ends:
    """What became of an intent, killed at each point of its call in turn and then called once more."""

    states: Counter[str] = field(default_factory=Counter)
    made: Counter[int] = field(default_factory=Counter)
    """How many upstream had of it when the process was dead."""


def at_each(tool: str, habits: Habits, fault: Fault | None = None) -> Ends:
    """Kill it everywhere. Whatever must hold is looked at when all has come to rest."""
    ends = Ends()
    for at in range(1, points(tool, habits) + 1):
        with granted(tool, habits) as (world, what):
            before = len(world.upstream.things) + len(world.upstream.changes)
            how = Step(kill_at=at, power=True, mutations=(fault,))
            world.step([("A", lambda process: call(world, process, what))], how)
            ends.made[len(world.upstream.things) + len(world.upstream.changes) - before] += 1
            settle(world)
            with reading(world.disk.folder / "state.db") as db:
                ends.states.update(row.state for row in approvals(db) if row.id == what.id)
    return ends


def points(tool: str, habits: Habits) -> int:
    """How many points such a call passes."""
    with granted(tool, habits) as (world, what):
        world.step([("A", lambda process: call(world, process, what))])
        return world.schedule.passed


@pytest.mark.parametrize("tool", ["create_card", "create_withdrawal"])
def test_a_call_that_is_killed_at_any_point_happens_once_or_is_left_to_a_person(tool: str) -> None:
    ends = at_each(tool, IGNORED)

    assert ends.made.keys() == {0, 1}
    # Asked for again while the yes holds, a card is there in the end; money that may be out is for a person.
    assert ends.states.keys() == ({"done"} if tool == "create_card" else {"done", "executing"})


@pytest.mark.check
@pytest.mark.parametrize("habits", [IGNORED, HONOURED], ids=["keys ignored", "keys honoured"])
@pytest.mark.parametrize("fault", [None, "lost", "never", "late", "after_5xx", "broken"])
@pytest.mark.parametrize("tool", ["create_card", "create_withdrawal", "update_card", "close_card"])
def test_whatever_fails_before_it_is_killed(tool: str, fault: Fault | None, habits: Habits) -> None:
    ends = at_each(tool, habits, fault=fault)

    assert ends.states.keys() <= ({"done", "executing"} if tool == "create_withdrawal" else {"done", "failed"})
    assert sum(ends.states.values()) == points(tool, habits)


@pytest.mark.check
def test_a_deposit_that_is_killed_at_any_point_is_in_audit_and_journal_first() -> None:
    passed, at = 1, 0
    while at < passed:
        at += 1
        world = World(IGNORED)
        try:

            async def act(process: Process, world: World = world) -> None:
                await deposit(world, process, "user-1")

            world.step([("A", act)], Step(kill_at=at, power=True))
            passed = world.schedule.passed + 1 if at == world.schedule.passed else at
            settle(world)
            assert len(world.upstream.made("deposit")) <= 1
        finally:
            world.close()
    assert at > 10

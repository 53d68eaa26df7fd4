"""A call killed at any point is neither repeated nor lost, and does not stay unresolved for long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.machine.actors import ask, call, decide, deposit
from tests.machine.network import Fault
from tests.machine.process import Process
from tests.machine.recovery import recover_and_check
from tests.machine.state_rows import approvals, reading
from tests.machine.upstream import ApiOptions
from tests.machine.world import GatedCall, Step, VirtualWorld

IGNORED = ApiOptions(honours_keys=False)
HONOURED = ApiOptions(honours_keys=True, signs_after=0.0)
LIMIT = {"limit_amount_cents": 1_234, "limit_frequency": "allTime"}


@contextmanager
def granted(tool: str, habits: ApiOptions) -> Iterator[tuple[VirtualWorld, GatedCall]]:
    """Return a world in which such a call was requested and approved."""
    world = VirtualWorld(habits)
    try:
        what = GatedCall(tool, {"user_id": "user-1"})
        if tool == "create_withdrawal":
            terms = {"amount_cents": 2_500, "currency": "usdc", "network": "base", "address": "0x" + "cd" * 20}
            terms["admin_address"] = "0x" + "7a" * 20
            quoted: list[Any] = world.step([("A", lambda one: one.call("quote_withdrawal", what.arguments | terms))])
            what.arguments["quote_id"] = quoted[0]["quote_id"]
        elif tool == "create_card":
            what.arguments |= LIMIT | {"label": "a label"}
        else:
            made = GatedCall("create_card", {"user_id": "user-1"})
            _approve_and_call(world, made)
            what.arguments["card_id"] = world.upstream.created("card")[0].id
            what.arguments |= LIMIT if tool == "update_card" else {}
        world.step([("A", lambda process: ask(world, process, what))])
        world.step([("A", lambda process: decide(process, what.id or "", yes=True))])
        yield world, what
    finally:
        world.close()


def _approve_and_call(world: VirtualWorld, what: GatedCall) -> None:
    world.step([("A", lambda process: ask(world, process, what))])
    world.step([("A", lambda process: decide(process, what.id or "", yes=True))])
    world.step([("A", lambda process: call(world, process, what))])


@dataclass
class KillResults:
    """The outcomes of an approved call that was killed at each of its points in turn and then repeated."""

    states: Counter[str] = field(default_factory=Counter)
    created: Counter[int] = field(default_factory=Counter)
    """The number of upstream effects at the time of the kill."""


def kill_at_each(tool: str, habits: ApiOptions, fault: Fault | None = None) -> KillResults:
    """Kill the call at every point, and check the invariants after recovery."""
    ends = KillResults()
    for at in range(1, count_points(tool, habits) + 1):
        with granted(tool, habits) as (world, what):
            before = len(world.upstream.things) + len(world.upstream.changes)
            how = Step(kill_at=at, power=True, mutations=(fault,))
            world.step([("A", lambda process: call(world, process, what))], how)
            ends.created[len(world.upstream.things) + len(world.upstream.changes) - before] += 1
            recover_and_check(world)
            with reading(world.disk.folder / "state.db") as db:
                ends.states.update(row.state for row in approvals(db) if row.id == what.id)
    return ends


def count_points(tool: str, habits: ApiOptions) -> int:
    """Count the points of such a call."""
    with granted(tool, habits) as (world, what):
        world.step([("A", lambda process: call(world, process, what))])
        return world.schedule.passed


@pytest.mark.parametrize("tool", ["create_card", "create_withdrawal"])
def test_call_killed_at_any_point_runs_once_or_needs_a_person(tool: str) -> None:
    ends = kill_at_each(tool, IGNORED)

    assert ends.created.keys() == {0, 1}
    # Repeated while the approval is valid, a card gets created. A withdrawal that may have left needs a person.
    assert ends.states.keys() == ({"done"} if tool == "create_card" else {"done", "executing"})


@pytest.mark.check
@pytest.mark.parametrize("habits", [IGNORED, HONOURED], ids=["keys ignored", "keys honoured"])
@pytest.mark.parametrize("fault", [None, "lost", "never", "late", "after_5xx", "broken"])
@pytest.mark.parametrize("tool", ["create_card", "create_withdrawal", "update_card", "close_card"])
def test_call_with_a_network_fault_and_a_kill_runs_at_most_once(
    tool: str, fault: Fault | None, habits: ApiOptions
) -> None:
    ends = kill_at_each(tool, habits, fault=fault)

    assert ends.states.keys() <= ({"done", "executing"} if tool == "create_withdrawal" else {"done", "failed"})
    assert sum(ends.states.values()) == count_points(tool, habits)


@pytest.mark.check
def test_deposit_killed_at_any_point_is_already_in_audit_and_journal() -> None:
    passed, at = 1, 0
    while at < passed:
        at += 1
        world = VirtualWorld(IGNORED)
        try:

            async def act(process: Process, world: VirtualWorld = world) -> None:
                await deposit(world, process, "user-1")

            world.step([("A", act)], Step(kill_at=at, power=True))
            passed = world.schedule.passed + 1 if at == world.schedule.passed else at
            recover_and_check(world)
            assert len(world.upstream.created("deposit")) <= 1
        finally:
            world.close()
    assert at > 10

"""A card whose response was lost is never confused with a similar or later changed card."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from machines_mcp.storage.concurrent_requests import ConcurrentRequests
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.journal import Journal, JournalEntry
from tests.machine.actors import ask, call, decide
from tests.machine.invariants import check
from tests.machine.network import Fault
from tests.machine.process import Process
from tests.machine.recovery import recover_and_check
from tests.machine.state_rows import approvals, reading
from tests.machine.upstream import ApiOptions
from tests.machine.world import GatedCall, Step, VirtualWorld

IGNORED = ApiOptions(honours_keys=False, dates_cards=False)
LIMIT = {"limit_amount_cents": 1_234, "limit_frequency": "allTime"}
BARE = {"user_id": "user-1"} | LIMIT
LABELLED = BARE | {"label": "a label"}
# With this seed, a late effect comes 11 seconds after sending, and the client waits 8 seconds for a response.
LATE = 1


@contextmanager
def granted(*cards: dict[str, Any]) -> Iterator[tuple[VirtualWorld, list[GatedCall]]]:
    """Return a world in which these cards were requested and approved in turn."""
    world = VirtualWorld(IGNORED)
    asks = [GatedCall("create_card", card) for card in cards]
    try:
        for what in asks:
            approve(world, what)
        yield world, asks
    finally:
        world.close()


def approve(world: VirtualWorld, what: GatedCall) -> None:
    world.step([("A", lambda process: ask(world, process, what))])
    world.step([("A", lambda process: decide(process, what.id or "", yes=True))])


def calls(world: VirtualWorld, what: GatedCall, fault: Fault | None = None, *, name: str = "A", seed: int = 0) -> None:
    world.step([(name, lambda process: call(world, process, what))], Step(seed, mutations=(fault,)))


def states(world: VirtualWorld) -> list[str]:
    with reading(world.disk.folder / "state.db") as db:
        return [row.state for row in approvals(db)]


def cards(world: VirtualWorld) -> int:
    return len(world.upstream.created("card"))


@contextmanager
def unwritable(process: Process, *, journal: bool, outcome: bool) -> Iterator[None]:
    """Make the disk fail when the journal records how a request ended, or when its outcome is stored."""

    async def fails(*_: object, **__: object) -> None:
        raise StoreUnavailable

    with pytest.MonkeyPatch.context() as patch:
        end = process.guard.journal.end

        async def ended(*about: object, **more: object) -> None:
            with pytest.MonkeyPatch.context() as disk:
                disk.setattr(process.store, "run", fails)
                await end(*about, **more)  # type: ignore[arg-type]

        if journal:
            patch.setattr(process.guard.journal, "end", ended)
        if outcome:
            patch.setattr(process.guard.approvals, "finish", fails)
        yield


@pytest.mark.parametrize(
    ("first", "second", "ends"),
    [
        ("lost", "never", ["executing", "executing"]),
        ("never", "lost", ["executing", "executing"]),
        ("lost", "lost", ["executing", "executing"]),
        ("never", "never", ["done", "done"]),
        ("lost", None, ["done", "done"]),
        (None, "never", ["done", "done"]),
    ],
)
def test_equal_requests_never_receive_each_others_card(
    first: Fault | None, second: Fault | None, ends: list[str]
) -> None:
    with granted(BARE, BARE) as (world, asks):
        for what, fault in zip(asks, (first, second), strict=True):
            calls(world, what, fault)
        # The process that starts next reconciles both at once.
        recover_and_check(world)
        assert states(world) == ends


def test_card_of_an_equal_request_in_flight_is_left_to_it() -> None:
    with granted(BARE, BARE) as (world, (first, second)):
        calls(world, first, "never")

        async def again(process: Process) -> None:
            await asyncio.sleep(0.5)
            assert cards(world) == 1
            await call(world, process, first)

        acts = [("A", lambda process: call(world, process, second)), ("B", again)]
        world.step(acts, Step(mutations=("slow",)))
        recover_and_check(world)
        assert states(world) == ["done", "done"]
        assert cards(world) == 2


def test_card_named_by_an_outcome_is_not_given_to_an_equal_request() -> None:
    with granted(BARE, BARE) as (world, (first, second)):
        with unwritable(world.process("A"), journal=True, outcome=False):
            calls(world, first)
        calls(world, second, "never")
        recover_and_check(world)
        assert states(world) == ["done", "done"]
        assert cards(world) == 2


@pytest.mark.parametrize(("card", "ends"), [(LABELLED, "done"), (BARE, "executing")])
@pytest.mark.parametrize("change", ["update_card", "close_card"])
def test_card_changed_before_reconciliation_is_not_created_again(change: str, card: dict[str, Any], ends: str) -> None:
    with granted(card) as (world, (what,)):
        with unwritable(world.process("A"), journal=True, outcome=True):
            calls(world, what)
        made = world.upstream.created("card")[0].id
        new = {"limit_amount_cents": 9_999, "limit_frequency": "allTime"} if change == "update_card" else {}
        changes = GatedCall(change, {"user_id": "user-1", "card_id": made} | new)
        approve(world, changes)
        calls(world, changes)
        recover_and_check(world)
        assert cards(world) == 1
        assert states(world) == ["done" if change == "close_card" else ends, "done"]


def test_clock_change_does_not_shorten_the_wait_for_a_late_effect() -> None:
    with granted(LABELLED) as (world, (what,)):
        world.set_back = 100.0
        calls(world, what, "late", seed=LATE)
        assert cards(world) == 0
        world.set_back = 0.0
        calls(world, what)
        check(world)
        assert cards(world) == 1
        recover_and_check(world)
        assert states(world) == ["done"]


def test_stale_list_is_not_used_for_reconciliation(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = Journal.concurrent_requests

    async def slowly(journal: Journal, entry: JournalEntry) -> ConcurrentRequests:
        await asyncio.sleep(30.0)
        return await judged(journal, entry)

    monkeypatch.setattr(Journal, "concurrent_requests", slowly)
    with granted(BARE) as (world, (what,)):
        calls(world, what, "late", seed=LATE)
        assert cards(world) == 0
        calls(world, what)
        recover_and_check(world)
        assert states(world) == ["done"]
        assert cards(world) == 1

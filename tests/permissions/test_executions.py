from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.approval import Intent
from machines_mcp.permissions.approval_details import Demand, Stakes
from machines_mcp.permissions.executions import EXECUTION_SECONDS
from machines_mcp.permissions.factory import Guard, wire_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.storage.database import Store
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

POLICY = default_policy("embedded", read_only=False)


@pytest.fixture
async def elsewhere(tmp_path: Path, clock: Clock) -> AsyncIterator[Guard]:
    """Another server on the same folder."""
    other = Store(tmp_path / "state")
    found = wire_guard(other, POLICY, clock=clock)
    yield found
    found.owners.close()
    await other.close()


async def _taken(guard: Guard, digest: str = "d1") -> Intent:
    intent = await guard.intents.open(Demand("pay", Effect.MONEY, "user-1", digest), Stakes("Pay?"))
    await guard.intents.grant(intent.id, "terminal")
    assert await guard.intents.consume(intent)
    return await _now(guard, intent)


async def _now(guard: Guard, intent: Intent) -> Intent:
    current = await guard.intents.get(intent.id)
    assert current is not None
    return current


async def test_it_runs_as_long_as_the_process_that_took_it_lives(guard: Guard, elsewhere: Guard, clock: Clock) -> None:
    intent = await _taken(guard)
    clock.advance(10 * EXECUTION_SECONDS)
    assert [one.intents.running(intent) for one in (guard, elsewhere)] == [True, True]
    assert await elsewhere.intents.executions.cut_short() == []
    # What the system does for a process that is gone.
    guard.owners.close()
    assert [one.intents.running(intent) for one in (guard, elsewhere)] == [False, False]
    assert await elsewhere.intents.executions.cut_short() == [intent]


async def test_what_a_process_gave_up_runs_no_more_for_anybody(guard: Guard, elsewhere: Guard) -> None:
    left, other = [await _taken(guard, digest) for digest in ("d1", "d2")]
    await guard.intents.executions.abandon(left.id)
    for one in (guard, elsewhere):
        assert not one.intents.running(await _now(one, left))
        assert one.intents.running(await _now(one, other))


async def test_what_was_given_up_is_known_here_even_where_the_disk_is_full(
    guard: Guard, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = await _taken(guard)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_transact", lambda work, begin: Store._transact(store, full, begin))
        await guard.intents.executions.abandon(intent.id)
    assert not guard.intents.running(await _now(guard, intent))
    assert await guard.intents.executions.take_over(intent.id) is not None
    assert guard.intents.running(await _now(guard, intent))


async def test_of_many_who_would_take_it_over_one_does(guard: Guard, elsewhere: Guard) -> None:
    intent = await _taken(guard)
    assert await elsewhere.intents.executions.take_over(intent.id) is None
    await guard.intents.executions.abandon(intent.id)
    taken: list[Guard] = []

    async def take(one: Guard) -> None:
        if await one.intents.executions.take_over(intent.id) is not None:
            taken.append(one)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(take, guard)
                tasks.start_soon(take, elsewhere)
    assert len(taken) == 1
    assert [one.intents.running(await _now(one, intent)) for one in (guard, elsewhere)] == [True, True]


async def test_what_was_given_back_elsewhere_and_taken_anew_runs(guard: Guard, elsewhere: Guard) -> None:
    intent = await _taken(guard)
    await guard.intents.executions.abandon(intent.id)
    await elsewhere.intents.give_back(intent.id)
    assert await guard.intents.consume(intent)
    assert guard.intents.running(await _now(guard, intent))
    assert await guard.intents.executions.take_over(intent.id) is None


@pytest.mark.parametrize("ok", [True, False])
async def test_what_has_its_outcome_is_taken_over_by_nobody(guard: Guard, ok: bool) -> None:
    intent = await _taken(guard)
    await guard.intents.finish(intent.id, "{}", ok=ok, code="ok")
    guard.owners.close()
    assert await guard.intents.executions.take_over(intent.id) is None
    assert await guard.intents.executions.cut_short() == []


async def test_what_was_taken_before_there_were_owners_goes_by_its_age(
    guard: Guard, store: Store, clock: Clock
) -> None:
    intent = await _taken(guard)
    await store.run(lambda db: db.execute("UPDATE intents SET owner = NULL"))
    old = await _now(guard, intent)
    assert guard.intents.running(old)
    clock.advance(EXECUTION_SECONDS + 1)
    assert not guard.intents.running(old)
    # That the journal holds nothing of it proves nothing.
    assert await guard.intents.executions.take_over(intent.id) is None

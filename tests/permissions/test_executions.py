from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.executions import EXECUTION_SECONDS
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

POLICY = default_policy("embedded", read_only=False)


@pytest.fixture
async def other_server(tmp_path: Path, clock: Clock) -> AsyncIterator[Guard]:
    """Return the guard of another server on the same folder."""
    other = Store(tmp_path / "state")
    found = build_guard(other, POLICY, ANY_USER, clock=clock)
    yield found
    found.locks.close()
    await other.close()


async def _consumed(guard: Guard, digest: str = "d1") -> Approval:
    approval = await guard.approvals.open(
        CallRequest("pay", ActionClass.MONEY, "user-1", digest), ApprovalDetails("Pay?")
    )
    await guard.approvals.grant(approval.id, "terminal")
    assert await guard.approvals.consume(approval)
    return await _reloaded(guard, approval)


async def _reloaded(guard: Guard, approval: Approval) -> Approval:
    current = await guard.approvals.get(approval.id)
    assert current is not None
    return current


async def test_execution_lasts_as_long_as_its_process(guard: Guard, other_server: Guard, clock: Clock) -> None:
    approval = await _consumed(guard)
    clock.advance(10 * EXECUTION_SECONDS)
    assert [one.approvals.running(approval) for one in (guard, other_server)] == [True, True]
    assert await other_server.approvals.executions.interrupted() == []
    # The system does this for a process that is gone.
    guard.locks.close()
    assert [one.approvals.running(approval) for one in (guard, other_server)] == [False, False]
    assert await other_server.approvals.executions.interrupted() == [approval]


async def test_released_execution_is_interrupted_for_every_server(guard: Guard, other_server: Guard) -> None:
    left, other = [await _consumed(guard, digest) for digest in ("d1", "d2")]
    await guard.approvals.executions.release(left.id)
    for one in (guard, other_server):
        assert not one.approvals.running(await _reloaded(one, left))
        assert one.approvals.running(await _reloaded(one, other))


async def test_release_is_known_locally_even_with_a_full_disk(
    guard: Guard, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval = await _consumed(guard)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_transact", lambda work, begin: Store._transact(store, full, begin))
        await guard.approvals.executions.release(approval.id)
    assert not guard.approvals.running(await _reloaded(guard, approval))
    assert await guard.approvals.executions.take_over(approval.id) is not None
    assert guard.approvals.running(await _reloaded(guard, approval))


async def test_one_of_many_takes_over_an_interrupted_call(guard: Guard, other_server: Guard) -> None:
    approval = await _consumed(guard)
    assert await other_server.approvals.executions.take_over(approval.id) is None
    await guard.approvals.executions.release(approval.id)
    taken: list[Guard] = []

    async def take(one: Guard) -> None:
        if await one.approvals.executions.take_over(approval.id) is not None:
            taken.append(one)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(take, guard)
                tasks.start_soon(take, other_server)
    assert len(taken) == 1
    assert [one.approvals.running(await _reloaded(one, approval)) for one in (guard, other_server)] == [True, True]


async def test_grant_returned_and_consumed_elsewhere_is_executing(guard: Guard, other_server: Guard) -> None:
    approval = await _consumed(guard)
    await guard.approvals.executions.release(approval.id)
    await other_server.approvals.return_grant(approval.id)
    assert await guard.approvals.consume(approval)
    assert guard.approvals.running(await _reloaded(guard, approval))
    assert await guard.approvals.executions.take_over(approval.id) is None


@pytest.mark.parametrize("ok", [True, False])
async def test_finished_call_is_not_taken_over(guard: Guard, ok: bool) -> None:
    approval = await _consumed(guard)
    await guard.approvals.finish(approval.id, "{}", ok=ok, code="ok")
    guard.locks.close()
    assert await guard.approvals.executions.take_over(approval.id) is None
    assert await guard.approvals.executions.interrupted() == []


async def test_row_without_an_owner_is_judged_by_its_age(guard: Guard, store: Store, clock: Clock) -> None:
    approval = await _consumed(guard)
    await store.run(lambda db: db.execute("UPDATE approvals SET owner = NULL"))
    old = await _reloaded(guard, approval)
    assert guard.approvals.running(old)
    clock.advance(EXECUTION_SECONDS + 1)
    assert not guard.approvals.running(old)
    # An empty journal proves nothing about it.
    assert await guard.approvals.executions.take_over(approval.id) is None

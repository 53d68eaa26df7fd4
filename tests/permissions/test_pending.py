from __future__ import annotations

from pathlib import Path

import pytest

from machines_mcp.permissions import pending as module
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.approvals import OPEN_SECONDS
from machines_mcp.permissions.factory import build_guard
from machines_mcp.permissions.pending import PendingWorkReader
from machines_mcp.permissions.policy import default_policy
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.storage.withdrawals import Withdrawals
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

CALL = CallRequest("pay", ActionClass.MONEY, "user-1", "d1")
POLICY = default_policy("embedded", read_only=False)


async def test_own_writes_are_visible_immediately(store: Store, clock: Clock) -> None:
    overview, withdrawals = PendingWorkReader(store, ANY_USER, lambda db: (), clock), Withdrawals(store, clock)
    approvals = build_guard(store, POLICY, ANY_USER, clock=clock).approvals
    assert await overview.snapshot() == module.PendingWork([], [], [])
    approval = await approvals.open(CALL, ApprovalDetails("Pay?"))
    assert (await overview.snapshot()).waiting == [approval]
    begun = await withdrawals.begin(await withdrawals.quote("user-1", {}), None)
    assert [(each.id, each.status) for each in (await overview.snapshot()).withdrawals] == [(begun, "requested")]
    await approvals.grant(approval.id, "terminal")
    assert (await overview.snapshot()).waiting == []
    await approvals.consume(approval)
    (executing,) = (await overview.snapshot()).executing
    assert (executing.id, executing.started_at) == (approval.id, clock.now)
    await approvals.finish(approval.id, "{}", ok=True, code="ok")
    assert (await overview.snapshot()).executing == []


async def test_writes_of_other_servers_and_expiries_appear_shortly_after(
    store: Store, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overview = PendingWorkReader(store, ANY_USER, lambda db: (), clock)
    await overview.snapshot()
    other = Store(tmp_path / "state")
    await build_guard(other, POLICY, ANY_USER, clock=clock).approvals.open(CALL, ApprovalDetails("Pay?"))
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
    assert len((await overview.snapshot()).waiting) == 1
    clock.advance(OPEN_SECONDS)
    assert (await overview.snapshot()).waiting == []
    await other.close()


async def test_disk_is_not_read_between_changes(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", 3600.0)
    overview = PendingWorkReader(store, ANY_USER, lambda db: (), clock)
    assert await overview.snapshot() is await overview.snapshot()

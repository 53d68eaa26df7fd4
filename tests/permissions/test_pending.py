from __future__ import annotations

from pathlib import Path

import pytest

from machines_mcp.permissions import pending as module
from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.approval_details import Demand, Stakes
from machines_mcp.permissions.approvals import OPEN_SECONDS
from machines_mcp.permissions.factory import wire_guard
from machines_mcp.permissions.pending import Overview
from machines_mcp.permissions.policy import default_policy
from machines_mcp.storage.database import Store
from machines_mcp.storage.withdrawals import Withdrawals
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

DEMAND = Demand("pay", Effect.MONEY, "user-1", "d1")
POLICY = default_policy("embedded", read_only=False)


async def test_what_this_process_wrote_is_seen_at_once(store: Store, clock: Clock) -> None:
    overview, withdrawals = Overview(store, clock), Withdrawals(store, clock)
    intents = wire_guard(store, POLICY, clock=clock).intents
    assert await overview.look() == module.Open([], [], [])
    intent = await intents.open(DEMAND, Stakes("Pay?"))
    assert (await overview.look()).waiting == [intent]
    begun = await withdrawals.begin(await withdrawals.quote("user-1", {}))
    assert [(each.id, each.status) for each in (await overview.look()).withdrawals] == [(begun, "requested")]
    await intents.grant(intent.id, "terminal")
    assert (await overview.look()).waiting == []
    await intents.consume(intent)
    (executing,) = (await overview.look()).executing
    assert (executing.id, executing.began_at) == (intent.id, clock.now)
    await intents.finish(intent.id, "{}", ok=True, code="ok")
    assert (await overview.look()).executing == []


async def test_what_another_server_wrote_and_what_expired_is_seen_a_moment_later(
    store: Store, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overview = Overview(store, clock)
    await overview.look()
    other = Store(tmp_path / "state")
    await wire_guard(other, POLICY, clock=clock).intents.open(DEMAND, Stakes("Pay?"))
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
    assert len((await overview.look()).waiting) == 1
    clock.advance(OPEN_SECONDS)
    assert (await overview.look()).waiting == []
    await other.close()


async def test_between_changes_the_disk_is_spared(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", 3600.0)
    overview = Overview(store, clock)
    assert await overview.look() is await overview.look()

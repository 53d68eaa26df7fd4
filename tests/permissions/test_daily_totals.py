"""Totals paid out per day."""

from __future__ import annotations

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.daily_totals import DailyTotal, daily_totals
from machines_mcp.permissions.factory import Guard
from machines_mcp.permissions.usage import DAY_SECONDS
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio


async def paid(guard: Guard, cents: int, outcome: str | None, *, ok: bool = True) -> None:
    details = ApprovalDetails(question="?", amount_cents=cents)
    approval = await guard.approvals.open(CallRequest("create_withdrawal", ActionClass.MONEY, "u", str(cents)), details)
    await guard.approvals.grant(approval.id, "desk")
    await guard.approvals.consume(approval)
    if outcome is not None:
        await guard.approvals.finish(approval.id, outcome, ok=ok, code="x")


async def test_possible_payments_count_for_their_day_and_pending_ones_for_today(guard: Guard, clock: Clock) -> None:
    clock.now = 20_000 * DAY_SECONDS + 10.0
    await paid(guard, 100, "{}")
    await paid(guard, 20, None)  # begun, outcome unknown
    await paid(guard, 3, '{"code": "outcome.unknown"}', ok=False)
    await paid(guard, 4, '{"code": "output.blocked"}', ok=False)
    await paid(guard, 1_000, '{"code": "partner.rejected"}', ok=False)  # known not to have left
    clock.advance(2 * DAY_SECONDS)
    await paid(guard, 7, "{}")
    waits = CallRequest("create_withdrawal", ActionClass.MONEY, "u", "waits")
    await guard.approvals.open(waits, ApprovalDetails(question="?", amount_cents=50_000))
    found = await guard.store.read(lambda db: daily_totals(db, ANY_USER, clock.now, 4))
    first = 19_999 * DAY_SECONDS
    assert found == [
        DailyTotal(first, 0),
        DailyTotal(first + DAY_SECONDS, 127),
        DailyTotal(first + 2 * DAY_SECONDS, 0),
        DailyTotal(first + 3 * DAY_SECONDS, 7, 50_000),
    ]
    clock.advance(16 * 60)
    assert (await guard.store.read(lambda db: daily_totals(db, ANY_USER, clock.now, 1)))[0].open_cents == 0

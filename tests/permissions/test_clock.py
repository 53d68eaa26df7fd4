"""A clock that was ahead holds changes until it has caught up, or until the operator confirms it."""

from __future__ import annotations

from pathlib import Path

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.clock import CLOCK_SET_BACK, CLOCK_SLACK_SECONDS
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import Limits, Policy, Rule
from machines_mcp.storage.audit_log import AuditEntry
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.storage.withdrawals import Withdrawals
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

AHEAD = 400 * 86_400.0
ASK = dict.fromkeys(ActionClass, Rule.ASK)


@pytest.fixture
def guard(store: Store, clock: Clock) -> Guard:
    policy = Policy(ASK, limits=Limits(per_day_cents=1_000, unbounded_cards=True))
    return build_guard(store, policy, ANY_USER, clock=clock)


def request(tool: str = "create_withdrawal", action_class: ActionClass = ActionClass.MONEY) -> CallRequest:
    return CallRequest(tool, action_class, "user-1", f"digest-{tool}")


CLOSE = request("close_card", ActionClass.DESTROY)


def money(cents: int) -> ApprovalDetails:
    return ApprovalDetails(question="Pay?", amount_cents=cents)


async def run(guard: Guard, call: CallRequest, details: ApprovalDetails) -> Approval:
    approval = await guard.approvals.open(call, details)
    assert await guard.approvals.grant(approval.id, "terminal")
    assert await guard.approvals.consume(approval)
    await guard.approvals.finish(approval.id, "{}", ok=True, code="ok")
    return approval


async def refusal(guard: Guard, call: CallRequest, details: ApprovalDetails) -> str:
    try:
        await run(guard, call, details)
    except LimitExceeded as exceeded:
        return exceeded.code
    return ""


async def while_ahead(guard: Guard, clock: Clock) -> None:
    """Write rows of every kind with a clock that is ahead, and set it right."""
    clock.advance(AHEAD)
    await run(guard, request(), money(600))
    await guard.approvals.open(request("create_card"), money(1))
    clock.advance(-AHEAD)


async def test_closing_a_card_is_not_held_by_the_clock(guard: Guard, clock: Clock) -> None:
    await while_ahead(guard, clock)
    assert await refusal(guard, request(), money(1)) == CLOCK_SET_BACK
    assert await refusal(guard, CLOSE, ApprovalDetails(question="Close?")) == ""


async def test_refusals_from_the_future_do_not_hold_closing_a_card(guard: Guard, clock: Clock) -> None:
    clock.advance(AHEAD)
    for number in range(3):
        call = CallRequest("close_card", ActionClass.DESTROY, "user-1", f"digest-{number}")
        asked = await guard.approvals.open(call, ApprovalDetails(question="Close?"))
        assert await guard.approvals.refuse(asked.id, "terminal")
    assert await refusal(guard, CLOSE, ApprovalDetails(question="Close?")) == "cooldown"
    clock.advance(-AHEAD)
    assert await refusal(guard, CLOSE, ApprovalDetails(question="Close?")) == ""


async def test_the_end_of_the_hold_is_known(guard: Guard, clock: Clock) -> None:
    assert await guard.clock_check.held_until() is None
    newest = clock.now + AHEAD
    await while_ahead(guard, clock)
    assert await guard.clock_check.held_until() == newest - CLOCK_SLACK_SECONDS
    clock.now = newest - CLOCK_SLACK_SECONDS
    assert await guard.clock_check.held_until() is None
    assert await refusal(guard, request(), money(1)) == ""


async def test_confirming_the_clock_allows_changes_and_leaves_a_row(guard: Guard, clock: Clock) -> None:
    assert not await guard.clock_check.rebase()
    await while_ahead(guard, clock)
    assert await guard.clock_check.rebase()
    assert await guard.clock_check.held_until() is None
    assert not await guard.clock_check.rebase()
    (row,) = await guard.audit.rows(ANY_USER, kind="setting")
    assert (row.code, row.by, row.at) == ("clock_rebased", "operator", clock.now)
    assert (await guard.audit.verified()).ok


async def test_confirming_the_clock_frees_no_part_of_a_day(guard: Guard, clock: Clock) -> None:
    await while_ahead(guard, clock)
    assert await guard.clock_check.rebase()
    # 600 cents left while the clock was ahead. They count today, because the day is not known.
    assert await refusal(guard, request(), money(401)) == "withdrawals.per_day_cents"
    assert await refusal(guard, request(), money(400)) == ""


async def test_confirming_the_clock_expires_whatever_waits(store: Store, guard: Guard, clock: Clock) -> None:
    withdrawals = Withdrawals(store, clock)
    before = await guard.approvals.open(request("before"), money(1))
    clock.advance(AHEAD)
    quote = await withdrawals.quote("user-1", {})
    waiting, granted = [await guard.approvals.open(request(tool), money(1)) for tool in ("waiting", "granted")]
    assert await guard.approvals.grant(granted.id, "terminal")
    clock.advance(-AHEAD)
    assert await guard.clock_check.rebase()
    assert not withdrawals.live(await withdrawals.find_quote("user-1", quote.id) or quote)
    for approval in (before, waiting, granted):
        found = await guard.approvals.get(approval.id)
        assert found is not None and guard.approvals.is_expired(found)
        assert found.created_at <= clock.now
        assert not await guard.approvals.grant(approval.id, "terminal")


async def test_a_second_hold_after_a_confirmed_clock(guard: Guard, clock: Clock) -> None:
    for _ in range(2):
        await while_ahead(guard, clock)
        assert await guard.clock_check.held_until() is not None
        assert await guard.clock_check.rebase()
        assert await guard.clock_check.held_until() is None
    # Rows after the confirmation count again.
    await guard.audit.append(AuditEntry("call", tool="get_card"))
    clock.advance(-CLOCK_SLACK_SECONDS - 1)
    assert await guard.clock_check.held_until() is not None


async def test_other_servers_of_the_folder_see_the_confirmed_clock(guard: Guard, clock: Clock, tmp_path: Path) -> None:
    await while_ahead(guard, clock)
    other_store = Store(tmp_path / "state")
    other = build_guard(other_store, guard.policy, ANY_USER, clock=clock)
    assert await refusal(other, request("other"), money(1)) == CLOCK_SET_BACK
    assert await guard.clock_check.rebase()
    assert await refusal(other, request("other"), money(1)) == ""
    await other_store.close()

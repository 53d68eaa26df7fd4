"""No approval outlives the terms that it is for: neither while it waits nor once it is granted."""

from __future__ import annotations

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.approvals import GRANT_SECONDS, OPEN_SECONDS
from machines_mcp.permissions.factory import Guard
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

# How long the terms last after the call, in seconds.
TERMS = (1.0, GRANT_SECONDS - 1.0, GRANT_SECONDS + 1.0, OPEN_SECONDS - 1.0, OPEN_SECONDS + 1.0, None)


async def opened(guard: Guard, clock: Clock, terms: float | None) -> Approval:
    until = None if terms is None else clock() + terms
    details = ApprovalDetails("Pay?", amount_cents=100, valid_until=until)
    return await guard.approvals.open(CallRequest("pay", ActionClass.MONEY, "user-1", "d1"), details)


async def found(guard: Guard, approval: Approval) -> Approval:
    current = await guard.approvals.get(approval.id)
    assert current is not None
    return current


@pytest.mark.parametrize("terms", TERMS)
async def test_waiting_approval_ends_with_its_terms(guard: Guard, clock: Clock, terms: float | None) -> None:
    lasts = OPEN_SECONDS if terms is None else min(terms, OPEN_SECONDS)
    approval = await opened(guard, clock, terms)
    assert (await found(guard, approval)).expires_at == approval.expires_at == clock() + lasts
    clock.now += lasts
    assert await guard.approvals.waiting() == []
    assert not await guard.approvals.grant(approval.id, "terminal")
    assert (await found(guard, approval)).state == "waiting"


@pytest.mark.parametrize("waited", [0.0, 0.5])
@pytest.mark.parametrize("terms", TERMS)
async def test_grant_ends_with_the_terms(guard: Guard, clock: Clock, terms: float | None, waited: float) -> None:
    approval = await opened(guard, clock, terms)
    clock.now += waited
    left = GRANT_SECONDS if terms is None else min(terms - waited, GRANT_SECONDS)
    assert await guard.approvals.grant(approval.id, "terminal")
    granted = await found(guard, approval)
    assert granted.expires_at == clock() + left
    clock.now += left
    assert not await guard.approvals.consume(granted)


async def test_terms_are_part_of_the_stored_details(guard: Guard, clock: Clock) -> None:
    approval = await opened(guard, clock, 60.0)
    assert (await found(guard, approval)).details == approval.details
    # Equal calls on equal terms share a question.
    assert (await opened(guard, clock, 60.0)).id == approval.id
    assert (await opened(guard, clock, 61.0)).id != approval.id

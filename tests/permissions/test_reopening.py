"""A form that was taken and not sent: it waits again, and what was decided about it counts no more."""

from __future__ import annotations

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.factory import Guard
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio


async def test_it_waits_again_for_what_is_left_of_its_grant_and_is_taken_only_anew(guard: Guard, clock: Clock) -> None:
    call_request = CallRequest("submit_kyc", ActionClass.IDENTITY, "u", "d")
    approval = await guard.approvals.open(call_request, ApprovalDetails(question="?", only="form"))
    assert await guard.channels.grant_and_consume(approval.id, "form") == "granted"
    await guard.approvals.reopen(approval.id)
    again = await guard.approvals.get(approval.id)
    assert again is not None
    assert (again.state, again.decided_by, again.decided_at, again.started_at) == ("waiting", None, None, None)
    assert not await guard.approvals.consume(again)
    clock.advance(299)
    assert await guard.channels.grant_and_consume(approval.id, "form") == "granted"
    await guard.approvals.finish(approval.id, "{}", ok=True, code="ok")
    await guard.approvals.reopen(approval.id)
    assert await guard.channels.get(approval.id) is None  # what has ended stays so
    verdicts = [(row.kind, row.verdict) for row in await guard.audit.rows()]
    assert verdicts.count(("outcome", "not_begun")) == 1
    assert verdicts.count(("decision", "granted")) == 2


async def test_what_is_left_of_the_grant_runs_out(guard: Guard, clock: Clock) -> None:
    call_request = CallRequest("submit_kyc", ActionClass.IDENTITY, "u", "d")
    approval = await guard.approvals.open(call_request, ApprovalDetails(question="?", only="form"))
    await guard.channels.grant_and_consume(approval.id, "form")
    await guard.approvals.reopen(approval.id)
    clock.advance(301)
    assert await guard.channels.grant_and_consume(approval.id, "form") == "gone"

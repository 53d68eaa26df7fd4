"""A form that was submitted but not sent waits again, and its earlier decision no longer counts."""

from __future__ import annotations

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.factory import Guard
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio


async def test_reopened_form_waits_for_the_rest_of_its_grant(guard: Guard, clock: Clock) -> None:
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
    assert await guard.channels.get(approval.id) is None  # an ended approval stays ended
    verdicts = [(row.kind, row.verdict) for row in await guard.audit.rows(ANY_USER)]
    assert verdicts.count(("outcome", "not_begun")) == 1
    assert verdicts.count(("decision", "granted")) == 2


async def test_rest_of_a_reopened_grant_expires(guard: Guard, clock: Clock) -> None:
    call_request = CallRequest("submit_kyc", ActionClass.IDENTITY, "u", "d")
    approval = await guard.approvals.open(call_request, ApprovalDetails(question="?", only="form"))
    await guard.channels.grant_and_consume(approval.id, "form")
    await guard.approvals.reopen(approval.id)
    clock.advance(301)
    assert await guard.channels.grant_and_consume(approval.id, "form") == "gone"

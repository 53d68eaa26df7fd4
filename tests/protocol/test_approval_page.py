"""Offering an approval page through the client. The client's response to the offer decides nothing."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.protocol.tool import Output, ToolContext, UserInput, tool
from machines_mcp.storage.database import Store
from tests.support.approver import FakeApprover
from tests.support.clock import Clock
from tests.support.fake_tools import ERAS, TOOLS, Era, FakeUpstream, Harness, body, build_harness

pytestmark = pytest.mark.anyio

DESK = "http://127.0.0.1:9/desk/"
VAULT = "http://127.0.0.1:9/vault"


class Shown(Output):
    shown: bool


async def _approval_details(call: ToolContext[FakeUpstream], args: UserInput) -> ApprovalDetails:
    return ApprovalDetails(question="Show it?", only="page")


async def _open(call: ToolContext[FakeUpstream], args: UserInput, approval: Approval) -> str:
    call.services.asked += 1
    return VAULT


async def _desk(path: str) -> str | None:
    return DESK + path


@tool(
    title="Show",
    toolset="cards",
    action_class=ActionClass.REVEAL,
    approval_details=_approval_details,
    approval_page=_open,
    makes_user=lambda _: True,
    idempotent=False,
)
async def show(call: ToolContext[FakeUpstream], args: UserInput) -> Shown:
    """Show something on a page."""
    return Shown(shown=True)


@pytest.fixture
def harness(store: Store, clock: Clock) -> Harness:
    return build_harness(store, clock, tools=(*TOOLS, show), desk=_desk)


async def _show(harness: Harness, era: Era, person: FakeApprover | None, **more: str) -> dict[str, Any]:
    async with harness.client(era, person) as client:
        return body(await client.call_tool("show", {"user_id": "anna", **more}))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("answer", ["accept", "decline", "cancel"])
async def test_the_page_is_offered_once_and_the_clients_response_decides_nothing(
    harness: Harness, era: Era, answer: Literal["accept", "decline", "cancel"]
) -> None:
    person = FakeApprover(answer)
    found = await _show(harness, era, person)
    page = f"{DESK}decisions/{found['approval_id']}"
    assert (found["code"], found["page"]) == ("approval.required", page)
    assert found["message"].startswith("The user must open the card's page and decide there first.")
    again = await _show(harness, era, person, approval_id=found["approval_id"])
    assert again["code"] == "approval.required"
    (offer,) = person.offered
    assert offer.url == page
    assert offer.message.startswith("Decide this on a page on this computer")
    (waiting,) = await harness.approvals.waiting()
    assert waiting.state == "waiting"


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_without_the_dialog_gets_the_address_in_the_response(harness: Harness, era: Era) -> None:
    found = await _show(harness, era, None)
    assert (found["code"], found["page"]) == ("approval.required", f"{DESK}decisions/{found['approval_id']}")
    # The call's own page starts when a person asks for it at the desk.
    assert harness.upstream.asked == 0


@pytest.mark.parametrize("era", ERAS)
async def test_no_page_is_offered_for_a_failed_call_or_one_decided_elsewhere(harness: Harness, era: Era) -> None:
    person = FakeApprover()
    async with harness.client(era, person) as client:
        assert (await client.call_tool("look", {"deep": True})).is_error
        assert not (await client.call_tool("look", {})).is_error
    assert person.offered == []


async def test_without_a_desk_a_call_that_only_a_page_decides_fails(store: Store, clock: Clock) -> None:
    server = build_harness(store, clock, tools=(*TOOLS, show))
    assert (await _show(server, "2026-07-28", None))["code"] == "state.unavailable"


@pytest.mark.parametrize("finishes", [True, False])
async def test_call_waits_for_its_own_page_and_gets_its_outcome(store: Store, clock: Clock, finishes: bool) -> None:
    waited: list[str] = []

    async def page_ended(approval_id: str) -> None:
        waited.append(approval_id)
        if finishes:
            await server.approvals.finish(approval_id, '{"shown": true, "next_steps": []}', ok=True, code="ok")

    server = build_harness(store, clock, tools=(*TOOLS, show), desk=_desk, page_ended=page_ended)
    asked = await _show(server, "2026-07-28", None)
    approval = await server.approvals.get(asked["approval_id"])
    assert approval is not None
    assert await server.approvals.grant_and_consume(approval, "page")
    found = await _show(server, "2026-07-28", None, approval_id=approval.id)
    assert waited == [approval.id]
    # Without an outcome after the wait, the call is reported as running.
    assert found.get("code", found.get("shown")) == (True if finishes else "outcome.unknown")

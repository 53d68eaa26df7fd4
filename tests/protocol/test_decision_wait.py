"""A dialog and an offered page close as soon as the approval no longer waits, and the call ends with a clear result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from machines_mcp.storage.database import Store
from tests.protocol.test_approval_page import _desk, show
from tests.support.approver import FakeApprover
from tests.support.clock import Clock
from tests.support.fake_tools import TOOLS, Harness, build_harness, code
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

PAYMENT = {"user_id": "user-1", "amount_cents": 500}
Ending = Callable[[Harness, str], Awaitable[object]]


async def _withdraw(harness: Harness, approval_id: str) -> object:
    return await harness.approvals.refusals.withdraw(approval_id)


async def _refuse(harness: Harness, approval_id: str) -> object:
    return await harness.guard.channels.refuse(approval_id, "desk")


async def _grant(harness: Harness, approval_id: str) -> object:
    return await harness.guard.channels.grant(approval_id, "desk")


async def _finish_on_page(harness: Harness, approval_id: str) -> None:
    approval = await harness.approvals.get(approval_id)
    assert approval is not None
    await harness.approvals.grant_and_consume(approval, "page")
    await harness.approvals.finish(approval_id, '{"shown": true, "next_steps": []}', ok=True, code="ok")


@pytest.fixture
def harness(store: Store, clock: Clock) -> Harness:
    return build_harness(store, clock, tools=(*TOOLS, show), desk=_desk)


async def _called(harness: Harness, tool: str, arguments: dict[str, object], ending: Ending) -> tuple[str, bool]:
    """Call the tool, end its approval while the client asks the person, and return the code of the result, and whether
    the client's dialog was closed."""
    opened, closed = anyio.Event(), anyio.Event()

    async def stay_open() -> None:
        opened.set()
        try:
            await anyio.sleep_forever()
        finally:
            closed.set()

    codes = list[str]()
    async with harness.client("legacy", FakeApprover(during=stay_open)) as client:

        async def call() -> None:
            codes.append(code(await client.call_tool(tool, arguments)))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                await opened.wait()
                (waiting,) = await harness.approvals.waiting()
                await ending(harness, waiting.id)
                await closed.wait()
    return codes[0], closed.is_set()


@pytest.mark.parametrize(
    ("ending", "ends"), [(_withdraw, "approval.withdrawn"), (_refuse, "approval.refused"), (_grant, "ok")]
)
async def test_dialog_closes_if_its_request_is_decided_elsewhere(harness: Harness, ending: Ending, ends: str) -> None:
    assert await _called(harness, "pay", PAYMENT, ending) == (ends, True)
    assert len(harness.upstream.paid) == (ends == "ok")


@pytest.mark.parametrize(
    ("ending", "ends"), [(_withdraw, "approval.withdrawn"), (_refuse, "approval.refused"), (_finish_on_page, "ok")]
)
async def test_offered_page_closes_if_its_request_is_decided(harness: Harness, ending: Ending, ends: str) -> None:
    assert await _called(harness, "show", {"user_id": "anna"}, ending) == (ends, True)

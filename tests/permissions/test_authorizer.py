from __future__ import annotations

from dataclasses import replace
from typing import Literal

import anyio
import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.approvals import GRANT_SECONDS, OPEN_SECONDS, ApprovalStore
from machines_mcp.permissions.authorizer import Authorization, Authorizer
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import Rule, default_policy
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

CALL = CallRequest("pay", ActionClass.MONEY, "user-1", "digest-1")


@pytest.fixture
def approvals(guard: Guard) -> ApprovalStore:
    return guard.approvals


@pytest.fixture
def authorizer(guard: Guard) -> Authorizer:
    return guard.authorizer


async def _pending_approval(authorizer: Authorizer) -> Approval:
    authorization = await authorizer.request(CALL, ApprovalDetails("Pay?"))
    assert authorization.verdict == "waiting"
    assert authorization.approval is not None
    return authorization.approval


async def test_authorizer_returns_the_policys_rule(authorizer: Authorizer) -> None:
    assert authorizer.rule(ActionClass.READ, "look") is Rule.ALLOW
    assert authorizer.rule(ActionClass.MONEY, "pay") is Rule.ASK


async def test_id_alone_authorizes_nothing(authorizer: Authorizer) -> None:
    approval = await _pending_approval(authorizer)
    assert (await authorizer.resume(CALL, approval.id)).verdict == "waiting"


async def test_grant_runs_once_and_then_returns_its_first_outcome(
    authorizer: Authorizer, approvals: ApprovalStore
) -> None:
    approval = await _pending_approval(authorizer)
    await approvals.grant(approval.id, "terminal")
    assert (await authorizer.resume(CALL, approval.id)).verdict == "run"
    assert (await authorizer.resume(CALL, approval.id)).verdict == "running"
    await authorizer.finish(approval, '{"paid": true}', ok=True, code="ok")
    again = await authorizer.resume(CALL, approval.id)
    assert again.verdict == "repeat"
    assert again.approval is not None
    assert again.approval.outcome == '{"paid": true}'


@pytest.mark.parametrize(
    "other",
    [
        replace(CALL, digest="digest-2"),
        replace(CALL, user_id="user-2"),
        replace(CALL, tool="close"),
    ],
)
async def test_granted_id_does_not_authorize_another_call(
    authorizer: Authorizer, approvals: ApprovalStore, other: CallRequest
) -> None:
    approval = await _pending_approval(authorizer)
    await approvals.grant(approval.id, "terminal")
    assert (await authorizer.resume(other, approval.id)).verdict == "mismatch"
    assert (await authorizer.resume(CALL, approval.id)).verdict == "run"


async def test_unknown_id_is_a_mismatch(authorizer: Authorizer) -> None:
    assert await authorizer.resume(CALL, "0" * 32) == Authorization("mismatch")


@pytest.mark.parametrize("granted", [False, True])
async def test_unused_approval_expires(
    authorizer: Authorizer, approvals: ApprovalStore, clock: Clock, granted: bool
) -> None:
    approval = await _pending_approval(authorizer)
    if granted:
        await approvals.grant(approval.id, "terminal")
    clock.advance(GRANT_SECONDS if granted else OPEN_SECONDS)
    assert (await authorizer.resume(CALL, approval.id)).verdict == "expired"
    assert (await authorizer.decide(approval, yes=True)).verdict == "expired"


async def test_rejection_is_final_for_the_call(authorizer: Authorizer) -> None:
    approval = await _pending_approval(authorizer)
    assert (await authorizer.decide(approval, yes=False)).verdict == "refused"
    assert (await authorizer.resume(CALL, approval.id)).verdict == "refused"
    assert (await authorizer.decide(approval, yes=True)).verdict == "refused"


async def test_two_concurrent_approvals_run_once(authorizer: Authorizer, approvals: ApprovalStore) -> None:
    approval = await _pending_approval(authorizer)
    await approvals.grant(approval.id, "terminal")
    assert (await authorizer.decide(approval, yes=True)).verdict == "run"
    assert (await authorizer.decide(approval, yes=True)).verdict == "running"


async def test_approval_after_the_end_returns_the_first_outcome(authorizer: Authorizer) -> None:
    approval = await _pending_approval(authorizer)
    assert (await authorizer.decide(approval, yes=True)).verdict == "run"
    await authorizer.finish(approval, '{"failed": true}', ok=False, code="partner.rejected")
    again = await authorizer.decide(approval, yes=True)
    assert again.verdict == "repeat"
    assert again.approval is not None
    assert again.approval.state == "failed"


@pytest.mark.parametrize("by_decision", [True, False])
async def test_one_of_fifty_concurrent_calls_runs(
    authorizer: Authorizer, approvals: ApprovalStore, by_decision: bool
) -> None:
    approval = await _pending_approval(authorizer)
    if not by_decision:
        await approvals.grant(approval.id, "terminal")
    verdicts: list[str] = []

    async def attempt() -> None:
        if by_decision:
            verdicts.append((await authorizer.decide(approval, yes=True)).verdict)
        else:
            verdicts.append((await authorizer.resume(CALL, approval.id)).verdict)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(attempt)
    assert sorted(verdicts) == ["run"] + ["running"] * 49


async def test_operator_approved_call_runs_immediately_and_is_recorded(store: Store, approvals: ApprovalStore) -> None:
    authorizer = build_guard(store, default_policy("embedded", read_only=False), ANY_USER, approves_all=True).authorizer
    authorization = await authorizer.request(CALL, ApprovalDetails("Pay?"))
    assert authorization.verdict == "run"
    assert authorization.approval is not None
    current = await approvals.get(authorization.approval.id)
    assert current is not None
    assert (current.state, current.decided_by) == ("executing", "operator")


async def test_released_execution_is_interrupted_and_calls_nothing(
    authorizer: Authorizer, approvals: ApprovalStore
) -> None:
    approval = await _pending_approval(authorizer)
    await approvals.grant(approval.id, "terminal")
    assert (await authorizer.resume(CALL, approval.id)).verdict == "run"
    await authorizer.release(approval)
    found = await authorizer.resume(CALL, approval.id)
    assert (found.verdict, found.approval and found.approval.state) == ("interrupted", "executing")
    # After a reconciliation without an outcome, whoever took it over is at work on it.
    assert (await authorizer.reevaluate(approval)).verdict == "running"


@pytest.mark.parametrize("only", ["page", "form"])
async def test_execution_on_its_own_page_has_a_verdict_of_its_own(
    authorizer: Authorizer, approvals: ApprovalStore, only: Literal["page", "form"]
) -> None:
    authorization = await authorizer.request(CALL, ApprovalDetails("Pay?", only=only))
    approval = authorization.approval
    assert approval is not None
    assert await approvals.grant_and_consume(approval, only)
    assert (await authorizer.resume(CALL, approval.id)).verdict == "running_on_page"
    await authorizer.release(approval)
    assert (await authorizer.resume(CALL, approval.id)).verdict == "interrupted"


async def test_unasked_decision_of_a_dialog_that_may_not_decide_changes_nothing(store: Store, clock: Clock) -> None:
    rules = replace(default_policy("embedded", read_only=False), dialog=frozenset())
    authorizer = build_guard(store, rules, ANY_USER, clock=clock).authorizer
    approval = await _pending_approval(authorizer)
    for yes in (True, False):
        assert (await authorizer.decide(approval, yes=yes, asked=False)).verdict == "waiting"
    assert (await authorizer.resume(CALL, approval.id)).verdict == "waiting"

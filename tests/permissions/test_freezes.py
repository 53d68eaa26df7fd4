"""A freeze stops each change and grant in its own transaction, for one user or all. Lifting takes the passphrase."""

from __future__ import annotations

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.database import Store
from machines_mcp.storage.freeze import Frozen
from machines_mcp.storage.journal import CallContext
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

DETAILS = ApprovalDetails(question="Pay?")
PROTECTIVE = ApprovalDetails(question="Lock?", protective=True)


def request(user_id: str = "user-1", *, protective: bool = False) -> CallRequest:
    action_class = ActionClass.WRITE if protective else ActionClass.MONEY
    return CallRequest("update_card", action_class, user_id, f"digest-{protective}", protective=protective)


async def test_no_step_of_an_approval_gets_past_a_freeze(guard: Guard) -> None:
    approvals = guard.approvals
    granted, waiting = [await approvals.open(request(user), DETAILS) for user in ("user-1", "user-2")]
    assert await approvals.grant(granted.id, "terminal")
    await guard.freezes.freeze("terminal")
    with pytest.raises(Frozen):
        await approvals.open(CallRequest("create_card", ActionClass.MONEY, "user-1", "new"), DETAILS)
    with pytest.raises(Frozen):
        await approvals.open_granted(request("user-3"), DETAILS, "policy")
    with pytest.raises(Frozen):
        await approvals.admit(request())
    with pytest.raises(Frozen):
        await approvals.grant(waiting.id, "terminal")
    with pytest.raises(Frozen):
        await approvals.consume(granted)
    with pytest.raises(Frozen):
        await approvals.grant_and_consume(waiting, "page")
    states = {found.id: found.state for found in await approvals.recent(10)}
    assert states == {granted.id: "granted", waiting.id: "waiting"}
    assert await guard.channels.grant(waiting.id, "terminal") == "frozen"
    assert await guard.freezes.lift("terminal", None) == "granted"
    assert await approvals.consume(granted)
    assert await guard.channels.grant(waiting.id, "terminal") == "granted"


async def test_a_refusal_and_a_protective_call_get_past_a_freeze(guard: Guard) -> None:
    waiting = await guard.approvals.open(request(), DETAILS)
    await guard.freezes.freeze("desk")
    assert await guard.channels.refuse(waiting.id, "terminal") == "refused"
    await guard.approvals.admit(request(protective=True))
    lock = await guard.approvals.open(request(protective=True), PROTECTIVE)
    assert await guard.approvals.grant(lock.id, "terminal")
    assert await guard.approvals.consume(lock)


async def test_a_freeze_of_one_user_stops_no_other(guard: Guard) -> None:
    assert await guard.freezes.freeze("terminal", "user-1")
    with pytest.raises(Frozen):
        await guard.freezes.refuse("user-1")
    with pytest.raises(Frozen):
        await guard.approvals.admit(request("user-1"))
    await guard.approvals.admit(request("user-2"))
    await guard.freezes.freeze("terminal")
    with pytest.raises(Frozen):
        await guard.approvals.admit(request("user-2"))
    assert await guard.freezes.lift("terminal", None) == "granted"
    await guard.approvals.admit(request("user-2"))
    with pytest.raises(Frozen):
        await guard.approvals.admit(request("user-1"))


async def test_the_journal_begins_no_mutation_while_frozen(guard: Guard) -> None:
    class Change:
        user_id: str | None = "user-1"
        operation, idempotency_key, body, keep_body = "PATCH /cards/{cardId}", None, b"{}", True
        ids = {"cardId": "card-1"}  # noqa: RUF012 - never changed

    await guard.freezes.freeze("terminal", "user-1")
    call = CallContext("approval-1", "update_card", "user-1")
    for about in (call, None):
        with pytest.raises(Frozen):
            await guard.journal.begin(Change(), about)
    assert call.begun == []
    assert await guard.journal.for_approval("approval-1") == []
    lock = CallContext("approval-2", "update_card", "user-1", protective=True)
    assert await guard.journal.begin(Change(), lock) == lock.begun[0]


async def test_lifting_a_freeze_takes_the_passphrase(store: Store, clock: Clock) -> None:
    guard = build_guard(store, default_policy("sandbox", read_only=False), ANY_USER, clock=clock)
    assert await guard.freezes.freeze("terminal")
    assert not await guard.freezes.freeze("desk")
    assert await guard.freezes.lift("terminal", Secret("anything at all")) == "unset"
    await guard.passphrase.set(Secret("correct horse battery"))
    assert await guard.freezes.lift("terminal", Secret("wrong")) == "wrong"
    (found,) = await guard.freezes.all()
    assert (found.user_id, found.since, found.by) == ("", clock.now, "terminal")
    assert await guard.freezes.lift("desk", Secret("correct horse battery"), "user-1") == "gone"
    assert await guard.freezes.lift("desk", Secret("correct horse battery")) == "granted"
    assert await guard.freezes.all() == []
    rows = [(row.code, row.by) for row in await guard.audit.rows(ANY_USER, kind="setting") if row.code != "passphrase"]
    assert rows == [("frozen", "terminal"), ("unfrozen", "desk")]

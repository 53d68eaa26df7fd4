"""While changes are frozen, the repeat of a call that ran returns what is known of it, never that nothing was done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
from mcp import Client

from machines_mcp.permissions.approvals import OPEN_SECONDS
from machines_mcp.protocol import reconciliation
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.tool import Completed, NotExecuted, Reconciliation, ToolContext
from machines_mcp.storage.database import Store
from machines_mcp.storage.freeze import Frozen
from tests.support.clock import Clock
from tests.support.fake_tools import (
    ERAS,
    MODERN,
    Era,
    FakeUpstream,
    Harness,
    Paid,
    body,
    build_harness,
    code,
    note,
    pay,
)

pytestmark = pytest.mark.anyio

CALL: dict[str, Any] = {"user_id": "user-1", "amount_cents": 500}
State = Literal["waiting", "granted", "refused", "expired", "done", "failed", "interrupted"]
RAN: tuple[State, ...] = ("done", "failed", "interrupted")
BEFORE: tuple[State, ...] = ("waiting", "granted", "refused", "expired")


class Machines:
    """What the payment's tool finds out about an interrupted payment."""

    found: Reconciliation | Exception = Frozen()

    async def reconcile(self, call: Any, approval: Any, entries: Any) -> Reconciliation:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def built(store: Store, clock: Clock, machines: Machines) -> Harness:
    return build_harness(store, clock, tools=[replace(pay, reconcile=machines.reconcile)])


async def asked(harness: Harness, client: Client, clock: Clock, state: State) -> tuple[dict[str, Any], dict[str, Any]]:
    """Bring a payment to this state. Return the repeated call and what it returned last."""
    first = body(await client.call_tool("pay", CALL))
    again = CALL | {"approval_id": first["approval_id"]}
    if state == "refused":
        await harness.guard.channels.refuse(first["approval_id"], "terminal")
    elif state == "expired":
        clock.advance(OPEN_SECONDS + 1)
    elif state != "waiting":
        await harness.guard.channels.grant(first["approval_id"], "terminal")
    if state not in RAN:
        return again, first
    failure = {"failed": ToolError(Code.PARTNER_REJECTED), "interrupted": RuntimeError()}.get(state)

    async def after() -> None:
        if failure is not None:
            raise failure

    harness.upstream.after = after
    return again, body(await client.call_tool("pay", again))


@pytest.mark.parametrize("whose", ["", "user-1"], ids=["everyone", "one user"])
@pytest.mark.parametrize("state", ["done", "failed"])
@pytest.mark.parametrize("era", ERAS)
async def test_a_stored_outcome_is_returned(store: Store, clock: Clock, era: Era, state: State, whose: str) -> None:
    harness = built(store, clock, Machines())
    async with harness.client(era) as client:
        again, before = await asked(harness, client, clock, state)
        await harness.guard.freezes.freeze("terminal", whose)
        assert body(await client.call_tool("pay", again)) == before
    assert len(harness.upstream.paid) == 1


@pytest.mark.parametrize("state", BEFORE)
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_never_ran_stays_frozen(store: Store, clock: Clock, era: Era, state: State) -> None:
    harness = built(store, clock, Machines())
    async with harness.client(era) as client:
        again, _ = await asked(harness, client, clock, state)
        await harness.guard.freezes.freeze("terminal")
        assert code(await client.call_tool("pay", again)) == "policy.frozen"
    assert harness.upstream.paid == []


@pytest.mark.parametrize("state", RAN)
@pytest.mark.parametrize("other", [{"amount_cents": 501}, {"user_id": "user-2"}, {"approval_id": "0" * 32}], ids=str)
async def test_an_id_of_another_call_opens_nothing(
    store: Store, clock: Clock, state: State, other: dict[str, Any]
) -> None:
    harness = built(store, clock, Machines())
    async with harness.client(MODERN) as client:
        again, _ = await asked(harness, client, clock, state)
        await harness.guard.freezes.freeze("terminal")
        assert code(await client.call_tool("pay", again | other)) == "policy.frozen"
    assert len(harness.upstream.paid) == 1


@pytest.mark.parametrize("era", ERAS)
async def test_an_interrupted_call_is_looked_up(store: Store, clock: Clock, era: Era) -> None:
    # A person lifts a freeze, so no call waits for it.
    assert reconciliation.FROZEN_SECONDS > reconciliation.CALL_SECONDS
    machines = Machines()
    harness = built(store, clock, machines)
    async with harness.client(era) as client:
        again, _ = await asked(harness, client, clock, "interrupted")
        await harness.guard.freezes.freeze("terminal")
        unknown = body(await client.call_tool("pay", again))
        assert (unknown["code"], unknown["retry_after_seconds"]) == ("outcome.unknown", 30)
        assert "machines-mcp unfreeze" in unknown["message"] and "othing was done" not in unknown["message"]
        assert unknown["next_steps"][0]["arguments"] == again
        machines.found = Completed(Paid(receipt=1, amount_cents=500))
        assert body(await client.call_tool("pay", again))["receipt"] == 1
    assert len(harness.upstream.paid) == 1


async def test_a_call_found_not_to_have_happened_is_not_sent_again(store: Store, clock: Clock) -> None:
    machines = Machines()
    harness = built(store, clock, machines)
    async with harness.client(MODERN) as client:
        again, _ = await asked(harness, client, clock, "interrupted")
        await harness.guard.freezes.freeze("terminal")
        machines.found = NotExecuted("Machines has no such payment.")
        # The grant is valid again, but can't be used.
        assert [code(await client.call_tool("pay", again)) for _ in range(2)] == ["policy.frozen"] * 2
    assert len(harness.upstream.paid) == 1


@pytest.mark.parametrize("sent", [0, 1])
@pytest.mark.parametrize("approved", [False, True])
async def test_a_freeze_between_two_requests_leaves_the_outcome_unknown(
    store: Store, clock: Clock, approved: bool, sent: int
) -> None:
    async def run(call: ToolContext[FakeUpstream], args: Any) -> Paid:
        call.logged_as.begun.extend(["entry"] * sent)
        raise Frozen

    kind = pay if approved else note
    harness = build_harness(store, clock, tools=[replace(kind, run=run)])
    async with harness.client(MODERN) as client:
        given = CALL
        if approved:
            given = CALL | {"approval_id": body(await client.call_tool(kind.name, CALL))["approval_id"]}
            await harness.guard.channels.grant(given["approval_id"], "terminal")
        found = await client.call_tool(kind.name, given)
    assert code(found) == ("outcome.unknown" if sent else "policy.frozen")

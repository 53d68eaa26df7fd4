"""The policy's permissions, limits and cooldowns as a client sees them, the client's name, and the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import Limits, Policy, Rule, default_policy
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from tests.support.approver import FakeApprover
from tests.support.clock import Clock
from tests.support.fake_tools import ERAS, MODERN, Era, Harness, body, build_harness, code
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

ARGUMENTS: Mapping[str, Any] = {"user_id": "user-1", "amount_cents": 500}

both_eras = pytest.mark.parametrize("era", ERAS)


def allowing(**more: Any) -> Policy:
    """Build a policy that only `embedded` may use: money moves without approval."""
    return replace(default_policy("embedded", read_only=False), rules=dict.fromkeys(ActionClass, Rule.ALLOW), **more)


def limited(cents: int) -> Limits:
    return Limits(per_day_cents=cents, unbounded_cards=True)


async def lines(harness: Harness) -> list[tuple[str, str | None, str | None, str | None]]:
    await harness.guard.audit.flush()
    return [(row.kind, row.verdict, row.code, row.by) for row in await harness.guard.audit.rows(ANY_USER)]


# Calls without approval


@both_eras
async def test_an_allowed_payment_is_an_approval_that_counts_toward_limits(
    store: Store, clock: Clock, era: Era
) -> None:
    harness, person = build_harness(store, clock, policy=allowing(limits=limited(1000))), FakeApprover()
    async with harness.client(era, person) as client:
        assert [code(await client.call_tool("pay", {**ARGUMENTS})) for _ in range(2)] == ["ok", "ok"]
        over = await client.call_tool("pay", {**ARGUMENTS})
        assert code(over) == "policy.denied"
        assert body(over)["limit"] == "withdrawals.per_day_cents"
    assert person.asked == []
    assert len({key for _, key, _ in harness.upstream.paid}) == 2
    approvals = await harness.approvals.recent(10)
    assert [(approval.state, approval.decided_by, approval.amount_cents) for approval in approvals] == [
        ("done", "policy", 500)
    ] * 2


@both_eras
async def test_an_allowed_payment_returns_its_first_result_for_its_id(store: Store, clock: Clock, era: Era) -> None:
    # The id is an argument because another class of this tool needs approval.
    rules = dict.fromkeys(ActionClass, Rule.ALLOW) | {ActionClass.WRITE: Rule.ASK}
    users = frozenset({"user-1", "user-2"})
    policy = replace(default_policy("embedded", read_only=False), rules=rules, users=users)
    harness = build_harness(store, clock, policy=policy)
    async with harness.client(era) as client:
        first = body(await client.call_tool("change", {**ARGUMENTS}))
        (approval,) = await harness.approvals.recent(10)
        for changed in ({"amount_cents": 501}, {"user_id": "user-2"}, {"harmless": True}):
            again = await client.call_tool("change", {**ARGUMENTS, **changed, "approval_id": approval.id})
            assert code(again) == "approval.mismatch"
        for _ in range(3):
            # A call with the id repeats the payment's result; a call without one is another payment.
            assert body(await client.call_tool("change", {**ARGUMENTS, "approval_id": approval.id})) == first
        assert len(harness.upstream.paid) == 1
        assert code(await client.call_tool("change", {**ARGUMENTS})) == "ok"
    assert len(harness.upstream.paid) == 2


async def test_concurrent_allowed_payments_stay_within_the_limit(store: Store, clock: Clock) -> None:
    harness = build_harness(store, clock, policy=allowing(limits=limited(2500)))
    codes: list[str] = []

    async def pay(client: Client) -> None:
        codes.append(code(await client.call_tool("pay", {**ARGUMENTS})))

    async with harness.client(MODERN) as client, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(pay, client)
    assert sorted(codes) == ["ok"] * 5 + ["policy.denied"] * 15
    assert len(harness.upstream.paid) == 5


# Limits and cooldowns


@both_eras
async def test_an_exceeded_limit_prevents_the_question(store: Store, clock: Clock, era: Era) -> None:
    rules = replace(default_policy("embedded", read_only=False), limits=limited(499))
    harness, person = build_harness(store, clock, policy=rules), FakeApprover()
    async with harness.client(era, person) as client:
        answer = await client.call_tool("pay", {**ARGUMENTS})
    assert (code(answer), body(answer)["limit"]) == ("policy.denied", "withdrawals.per_day_cents")
    assert person.asked == []
    assert harness.upstream.paid == []


@both_eras
async def test_a_limit_used_up_after_approval_denies_the_call(store: Store, clock: Clock, era: Era) -> None:
    rules = replace(default_policy("embedded", read_only=False), limits=limited(1000))
    harness = build_harness(store, clock, policy=rules)
    async with harness.client(era) as client:
        ids = []
        for note in ("one", "two"):
            asked = await client.call_tool("pay", {**ARGUMENTS, "note": note})
            ids.append(body(asked)["approval_id"])
            assert await harness.guard.channels.grant(ids[-1], "terminal") == "granted"
        await store.run(lambda db: db.execute("UPDATE approvals SET amount_cents = 501 WHERE id = ?", (ids[0],)))
        answer = await client.call_tool("pay", {**ARGUMENTS, "note": "two", "approval_id": ids[1]})
    assert (code(answer), body(answer)["limit"]) == ("policy.denied", "withdrawals.per_day_cents")
    assert harness.upstream.paid == []


@both_eras
async def test_three_refusals_pause_the_tool_and_report_until_when(harness: Harness, clock: Clock, era: Era) -> None:
    person = FakeApprover("decline")
    async with harness.client(era, person) as client:
        for _ in range(3):
            assert code(await client.call_tool("pay", {**ARGUMENTS})) == "approval.refused"
        paused = await client.call_tool("pay", {**ARGUMENTS, "amount_cents": 1})
        assert code(paused) == "policy.denied"
        assert body(paused)["cooldown_until"] == "2027-01-15T08:15:00Z"
        assert len(person.asked) == 3
        assert code(await client.call_tool("tip", {**ARGUMENTS})) == "approval.refused"
        clock.advance(15 * 60)
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "approval.refused"
    assert harness.upstream.paid == []


# Client name


NAMES = [
    ("Claude Code", "2.1.0", "Claude Code 2.1.0"),
    ("", "", ""),
    ("a\nb\x1b[2J\u202ec", "“yes”", "ab2Jc yes"),
    ("Approve? Yes! (really); <b>", "1", "Approve Yes really b 1"),
    ("x" * 500, "y" * 500, "x" * 79 + "…"),
    ("🙂", "1", "1"),
]


@both_eras
@pytest.mark.parametrize(("name", "version", "known"), NAMES, ids=range(len(NAMES)))
async def test_the_clients_name_is_stored_as_far_as_it_is_plain_text(
    harness: Harness, era: Era, name: str, version: str, known: str
) -> None:
    info = types.Implementation(name=name, version=version)
    person = FakeApprover("cancel")
    with anyio.fail_after(PATIENCE):
        async with Client(harness.server, mode=era, client_info=info, elicitation_callback=person) as client:
            await client.call_tool("pay", {**ARGUMENTS})
    (approval,) = await harness.approvals.waiting()
    assert approval.asked_by == known
    assert len(approval.asked_by) <= 80
    (shown,) = person.asked
    assert shown.splitlines()[-1] == (
        f"Asked by “{approval.asked_by}” (self-reported name)." if known else "Asked by an unnamed program."
    )


# Audit log


async def test_a_change_is_audited_before_it_is_made(harness: Harness) -> None:
    seen: list[list[tuple[str, str | None, str | None, str | None]]] = []

    async def look() -> None:
        seen.append([line for line in await lines(harness) if line[0] == "call"])

    harness.upstream.before = look
    async with harness.client(MODERN, FakeApprover()) as client:
        await client.call_tool("note", {**ARGUMENTS})
        await client.call_tool("pay", {**ARGUMENTS})
    first, second = seen
    assert first == [("call", "executing", None, None)]
    assert second == [*first, ("call", "executing", None, "dialog")]
    assert await lines(harness) == [
        ("call", "executing", None, None),
        ("outcome", None, "ok", None),
        ("approval_request", None, None, None),
        ("decision", "granted", None, "dialog"),
        ("call", "executing", None, "dialog"),
        ("outcome", "done", "ok", "dialog"),
    ]


@pytest.mark.parametrize("tool", ["note", "pay", "change"])
async def test_a_change_that_cannot_be_audited_is_not_made(harness: Harness, store: Store, tool: str) -> None:
    async with harness.client(MODERN) as client:
        given = {**ARGUMENTS}
        if tool != "note":
            given["approval_id"] = body(await client.call_tool(tool, given))["approval_id"]
            await harness.guard.channels.grant(given["approval_id"], "terminal")
        await store.read(lambda db: db.execute("PRAGMA query_only = ON"))
        assert code(await client.call_tool(tool, given)) == "state.unavailable"
        assert harness.upstream.paid == []
        await store.read(lambda db: db.execute("PRAGMA query_only = OFF"))
        assert code(await client.call_tool(tool, given)) == "ok"
    assert len(harness.upstream.paid) == 1


async def test_repeated_and_refused_calls_have_their_own_rows(harness: Harness) -> None:
    async with harness.client(MODERN) as client:
        approval = body(await client.call_tool("pay", {**ARGUMENTS}))["approval_id"]
        again = {**ARGUMENTS, "approval_id": approval}
        await client.call_tool("pay", again | {"amount_cents": 1})
        await harness.guard.channels.grant(approval, "terminal")
        for _ in range(2):
            await client.call_tool("pay", again)
        await client.call_tool("pay", {"user_id": "user-1"})
        await client.call_tool("look", {})
    assert await lines(harness) == [
        ("approval_request", None, None, None),
        ("call", None, "waiting", None),
        ("call", None, "mismatch", None),
        ("decision", "granted", None, "terminal"),
        ("call", "executing", None, "terminal"),
        ("outcome", "done", "ok", "terminal"),
        ("call", None, "repeat", None),
        ("call", None, "input.invalid", None),
        ("call", None, "ok", None),
    ]
    assert len(harness.upstream.paid) == 1

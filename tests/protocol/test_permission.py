"""What the policy allows, limits and pauses, as a client meets it; who asked; and the audit before the deed."""

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
from tests.protocol.fakes import ERAS, MODERN, Era, House, body, code, house, says
from tests.support.clock import Clock
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

ARGUMENTS: Mapping[str, Any] = {"user_id": "user-1", "amount_cents": 500}

both_eras = pytest.mark.parametrize("era", ERAS)


def allowing(**more: Any) -> Policy:
    """What only `embedded` may say: money moves without a person."""
    return replace(default_policy("embedded", read_only=False), rules=dict.fromkeys(ActionClass, Rule.ALLOW), **more)


def limited(cents: int) -> Limits:
    return Limits(per_day_cents=cents, unbounded_cards=True)


async def lines(home: House) -> list[tuple[str, str | None, str | None, str | None]]:
    await home.guard.audit.flush()
    return [(row.kind, row.verdict, row.code, row.by) for row in await home.guard.audit.rows()]


# Nobody is asked


@both_eras
async def test_an_allowed_payment_is_an_intent_that_limits_count(store: Store, clock: Clock, era: Era) -> None:
    home, person = house(store, clock, policy=allowing(limits=limited(1000))), says("accept")
    async with home.client(era, person) as client:
        assert [code(await client.call_tool("pay", {**ARGUMENTS})) for _ in range(2)] == ["ok", "ok"]
        over = await client.call_tool("pay", {**ARGUMENTS})
        assert code(over) == "policy.denied"
        assert body(over)["limit"] == "withdrawals.per_day_cents"
    assert person.asked == []
    assert len({key for _, key, _ in home.world.paid}) == 2
    approvals = await home.approvals.recent(10)
    assert [(approval.state, approval.decided_by, approval.amount_cents) for approval in approvals] == [
        ("done", "policy", 500)
    ] * 2


@both_eras
async def test_an_allowed_payment_gives_its_first_answer_for_its_id(store: Store, clock: Clock, era: Era) -> None:
    # The id is an argument because this tool asks for its other class.
    rules = dict.fromkeys(ActionClass, Rule.ALLOW) | {ActionClass.WRITE: Rule.ASK}
    home = house(store, clock, policy=replace(default_policy("embedded", read_only=False), rules=rules))
    async with home.client(era) as client:
        first = body(await client.call_tool("change", {**ARGUMENTS}))
        (approval,) = await home.approvals.recent(10)
        for changed in ({"amount_cents": 501}, {"user_id": "user-2"}, {"harmless": True}):
            again = await client.call_tool("change", {**ARGUMENTS, **changed, "approval_id": approval.id})
            assert code(again) == "approval.mismatch"
        for _ in range(3):
            # A model that would rather be sure names the id; one that names none means another payment.
            assert body(await client.call_tool("change", {**ARGUMENTS, "approval_id": approval.id})) == first
        assert len(home.world.paid) == 1
        assert code(await client.call_tool("change", {**ARGUMENTS})) == "ok"
    assert len(home.world.paid) == 2


async def test_of_allowed_payments_at_once_no_more_than_the_limit_are_made(store: Store, clock: Clock) -> None:
    home = house(store, clock, policy=allowing(limits=limited(2500)))
    codes: list[str] = []

    async def pay(client: Client) -> None:
        codes.append(code(await client.call_tool("pay", {**ARGUMENTS})))

    async with home.client(MODERN) as client, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(pay, client)
    assert sorted(codes) == ["ok"] * 5 + ["policy.denied"] * 15
    assert len(home.world.paid) == 5


# Limits and pauses


@both_eras
async def test_a_limit_forbids_the_question_itself(store: Store, clock: Clock, era: Era) -> None:
    rules = replace(default_policy("embedded", read_only=False), limits=limited(499))
    home, person = house(store, clock, policy=rules), says("accept")
    async with home.client(era, person) as client:
        answer = await client.call_tool("pay", {**ARGUMENTS})
    assert (code(answer), body(answer)["limit"]) == ("policy.denied", "withdrawals.per_day_cents")
    assert person.asked == []
    assert home.world.paid == []


@both_eras
async def test_a_limit_used_up_after_the_approval_forbids_the_call(store: Store, clock: Clock, era: Era) -> None:
    rules = replace(default_policy("embedded", read_only=False), limits=limited(1000))
    home = house(store, clock, policy=rules)
    async with home.client(era) as client:
        ids = []
        for note in ("one", "two"):
            asked = await client.call_tool("pay", {**ARGUMENTS, "note": note})
            ids.append(body(asked)["approval_id"])
            assert await home.guard.channels.grant(ids[-1], "terminal") == "granted"
        await store.run(lambda db: db.execute("UPDATE approvals SET amount_cents = 501 WHERE id = ?", (ids[0],)))
        answer = await client.call_tool("pay", {**ARGUMENTS, "note": "two", "approval_id": ids[1]})
    assert (code(answer), body(answer)["limit"]) == ("policy.denied", "withdrawals.per_day_cents")
    assert home.world.paid == []


@both_eras
async def test_after_three_refusals_the_tool_is_paused_and_says_until_when(home: House, clock: Clock, era: Era) -> None:
    person = says("decline")
    async with home.client(era, person) as client:
        for _ in range(3):
            assert code(await client.call_tool("pay", {**ARGUMENTS})) == "approval.refused"
        paused = await client.call_tool("pay", {**ARGUMENTS, "amount_cents": 1})
        assert code(paused) == "policy.denied"
        assert body(paused)["paused_until"] == "2027-01-15T08:15:00+00:00"
        assert len(person.asked) == 3
        assert code(await client.call_tool("tip", {**ARGUMENTS})) == "approval.refused"
        clock.advance(15 * 60)
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "approval.refused"
    assert home.world.paid == []


# Who asked


NAMES = [
    ("Claude Code", "2.1.0", "Claude Code 2.1.0"),
    ("", "", ""),
    ("a\nb\x1b[2J\u202ec", "“yes”", "ab2Jc yes"),
    ("Approve? Yes! (really); <b>", "1", "Approve Yes really b 1"),
    ("x" * 500, "y" * 500, "x" * 40 + " " + "y" * 39),
    ("🙂", "1", "1"),
]


@both_eras
@pytest.mark.parametrize(("name", "version", "known"), NAMES, ids=range(len(NAMES)))
async def test_who_asked_is_kept_as_the_program_calls_itself_as_far_as_that_is_plain(
    home: House, era: Era, name: str, version: str, known: str
) -> None:
    info = types.Implementation(name=name, version=version)
    person = says("cancel")
    with anyio.fail_after(PATIENCE):
        async with Client(home.server, mode=era, client_info=info, elicitation_callback=person) as client:
            await client.call_tool("pay", {**ARGUMENTS})
    (approval,) = await home.approvals.waiting()
    assert approval.asked_by == known
    assert len(approval.asked_by) <= 80
    (shown,) = person.asked
    assert shown.splitlines()[-1] == (
        f"Asked by “{approval.asked_by}” (as it calls itself)." if known else "Asked by a program that gave no name."
    )


# The audit


async def test_what_changes_something_is_in_the_audit_before_it_is_done(home: House) -> None:
    seen: list[list[tuple[str, str | None, str | None, str | None]]] = []

    async def look() -> None:
        seen.append([line for line in await lines(home) if line[0] == "call"])

    home.world.before = look
    async with home.client(MODERN, says("accept")) as client:
        await client.call_tool("note", {**ARGUMENTS})
        await client.call_tool("pay", {**ARGUMENTS})
    first, second = seen
    assert first == [("call", "executing", None, None)]
    assert second == [*first, ("call", "executing", None, "dialog")]
    assert await lines(home) == [
        ("call", "executing", None, None),
        ("outcome", None, "ok", None),
        ("asked", None, None, None),
        ("decision", "granted", None, "dialog"),
        ("call", "executing", None, "dialog"),
        ("outcome", "done", "ok", "dialog"),
    ]


@pytest.mark.parametrize("tool", ["note", "pay", "change"])
async def test_what_can_not_be_put_in_the_audit_is_not_done(home: House, store: Store, tool: str) -> None:
    async with home.client(MODERN) as client:
        given = {**ARGUMENTS}
        if tool != "note":
            given["approval_id"] = body(await client.call_tool(tool, given))["approval_id"]
            await home.guard.channels.grant(given["approval_id"], "terminal")
        await store.read(lambda db: db.execute("PRAGMA query_only = ON"))
        assert code(await client.call_tool(tool, given)) == "state.unavailable"
        assert home.world.paid == []
        await store.read(lambda db: db.execute("PRAGMA query_only = OFF"))
        assert code(await client.call_tool(tool, given)) == "ok"
    assert len(home.world.paid) == 1


async def test_repeated_and_refused_calls_have_lines_of_their_own(home: House) -> None:
    async with home.client(MODERN) as client:
        approval = body(await client.call_tool("pay", {**ARGUMENTS}))["approval_id"]
        again = {**ARGUMENTS, "approval_id": approval}
        await client.call_tool("pay", again | {"amount_cents": 1})
        await home.guard.channels.grant(approval, "terminal")
        for _ in range(2):
            await client.call_tool("pay", again)
        await client.call_tool("pay", {"user_id": "user-1"})
        await client.call_tool("look", {})
    assert await lines(home) == [
        ("asked", None, None, None),
        ("call", None, "waiting", None),
        ("call", None, "mismatch", None),
        ("decision", "granted", None, "terminal"),
        ("call", "executing", None, "terminal"),
        ("outcome", "done", "ok", "terminal"),
        ("call", None, "repeat", None),
        ("call", None, "input.invalid", None),
        ("call", None, "ok", None),
    ]
    assert len(home.world.paid) == 1

"""The next steps of errors are whole calls that run as they stand, and a repeated call can wait for the decision."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from mcp import Client

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.permissions.approvals import GRANT_SECONDS, OPEN_SECONDS
from machines_mcp.permissions.factory import build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.tool import Output, ToolContext, UserInput, tool
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import Principal
from tests.support.approver import FakeApprover
from tests.support.clock import Clock
from tests.support.fake_tools import ERAS, MODERN, TOOLS, Era, Harness, body, build_harness, code

pytestmark = pytest.mark.anyio
both_eras = pytest.mark.parametrize("era", ERAS)

CARD_NUMBER = "4111 1111 1111 1111"
PAY: dict[str, Any] = {"user_id": "user-1", "amount_cents": 500, "note": "Lunch"}
PERSON: dict[str, Any] = {"user_id": "user-1", "name": "Ada Lovelace", "born": "1990-01-31"}


class Person(UserInput):
    name: str | None = None
    born: str | None = None
    reason: str = "new"


async def _details(call: ToolContext[Any], args: Person) -> ApprovalDetails:
    return ApprovalDetails(question="Send the data?")


@tool(
    title="Send identity data",
    toolset="onboarding",
    action_class=ActionClass.IDENTITY,
    approval_details=_details,
    withheld=("name", "born"),
    makes_user=lambda _: True,
    idempotent=False,
)
async def send(call: ToolContext[Any], args: Person) -> Output:
    """Send identity data."""
    call.services.paid.append((args.name or "", args.born or "", 0))
    return Output()


async def _step(client: Client, answer: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """Run a next step as it stands."""
    step = answer["next_steps"][number]
    return body(await client.call_tool(step["tool"], step["arguments"]))


def _raising(error: Exception) -> Callable[[], Awaitable[None]]:
    async def hook() -> None:
        raise error

    return hook


@both_eras
@pytest.mark.parametrize("pinned", [None, "user-1"])
async def test_approval_required_carries_the_whole_call(
    store: Store, clock: Clock, era: Era, pinned: str | None
) -> None:
    harness = build_harness(store, clock, pinned_user=pinned)
    given = {name: value for name, value in PAY.items() if name != "user_id" or pinned is None}
    async with harness.client(era) as client:
        asked = body(await client.call_tool("pay", given))
        assert asked["retryable"] is False
        assert asked["next_steps"][0]["arguments"] == {**given, "approval_id": asked["approval_id"], "wait_seconds": 30}
        await harness.approvals.grant(asked["approval_id"], "terminal")
        assert (await _step(client, asked))["note"] == "Lunch"
    assert len(harness.upstream.paid) == 1


@both_eras
async def test_expired_approval_is_asked_anew_with_the_whole_call(harness: Harness, clock: Clock, era: Era) -> None:
    async with harness.client(era) as client:
        asked = body(await client.call_tool("pay", PAY))
        clock.advance(OPEN_SECONDS)
        expired = body(await client.call_tool("pay", PAY | {"approval_id": asked["approval_id"]}))
        assert expired["next_steps"][0]["arguments"] == PAY
        anew = await _step(client, expired)
    assert (anew["code"], anew["approval_id"] != asked["approval_id"]) == ("approval.required", True)


CHANGED: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"amount_cents": 501}, {"amount_cents": "differs from"}),
    ({"note": None}, {"note": "is missing"}),
    ({"kind": "bill"}, {"kind": "differs from"}),
    ({"amount_cents": 501, "note": "Dinner"}, {"amount_cents": "differs from", "note": "differs from"}),
]


@both_eras
@pytest.mark.parametrize(("changed", "faults"), CHANGED)
async def test_mismatch_names_what_differs_and_leads_back(
    harness: Harness, era: Era, changed: dict[str, Any], faults: dict[str, str]
) -> None:
    async with harness.client(era) as client:
        asked = body(await client.call_tool("pay", PAY))
        await harness.approvals.grant(asked["approval_id"], "terminal")
        told = body(await client.call_tool("pay", PAY | changed | {"approval_id": asked["approval_id"]}))
        assert told["code"] == "approval.mismatch"
        assert {each["field"]: " ".join(each["rule"].split(";")[0].split()[:2]) for each in told["fields"]} == faults
        assert told["message"].index("Repeat that call") < told["message"].index("leave out approval_id")
        assert (await _step(client, told))["amount_cents"] == 500


@both_eras
async def test_mismatch_of_an_argument_that_was_not_there_says_to_leave_it_out(harness: Harness, era: Era) -> None:
    async with harness.client(era) as client:
        given = {"user_id": "user-1", "amount_cents": 500}
        asked = body(await client.call_tool("pay", given))
        told = body(await client.call_tool("pay", PAY | {"approval_id": asked["approval_id"]}))
    (fault,) = told["fields"]
    assert fault["field"] == "note"
    assert fault["rule"].endswith("leave it out")


@both_eras
async def test_mismatch_of_tool_user_or_id_is_named(harness: Harness, era: Era) -> None:
    async with harness.client(era) as client:
        approval_id = body(await client.call_tool("pay", PAY))["approval_id"]
        tool = body(await client.call_tool("tip", PAY | {"approval_id": approval_id}))
        user = body(await client.call_tool("pay", PAY | {"user_id": "user-2", "approval_id": approval_id}))
        unknown = body(await client.call_tool("pay", PAY | {"approval_id": "0" * 32}))
    assert tool["fields"] == [{"field": "approval_id", "rule": "is for a call of pay"}]
    assert tool["next_steps"][0]["tool"] == "pay"
    assert [fault["field"] for fault in user["fields"]] == ["user_id"]
    assert "Lunch" not in json.dumps(user)
    assert [fault["field"] for fault in unknown["fields"]] == ["approval_id"]
    assert "anew" not in json.dumps(unknown)


@both_eras
@pytest.mark.parametrize("changed", [*(changed for changed, _ in CHANGED), {"note": CARD_NUMBER}], ids=str)
@pytest.mark.parametrize("asked", [PAY, PAY | {"note": None, "amount_cents": 1}], ids=["note", "no note"])
async def test_mismatch_after_a_restart_names_the_same_arguments(
    store: Store, clock: Clock, era: Era, asked: dict[str, Any], changed: dict[str, Any]
) -> None:
    told = []
    async with build_harness(store, clock).client(era) as client:
        approval_id = body(await client.call_tool("pay", asked))["approval_id"]
        given = PAY | changed | {"approval_id": approval_id}
        told.append(body(await client.call_tool("pay", given)))
    async with build_harness(store, clock).client(era) as client:
        told.append(body(await client.call_tool("pay", given)))
    assert [each["code"] for each in told] == ["approval.mismatch"] * 2
    assert told[1]["fields"] == told[0]["fields"] != []


@both_eras
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"reason": "moved"}, ["reason"]),
        ({"name": "Eve"}, ["name", "born"]),
        ({"name": "Eve", "reason": "moved"}, ["reason"]),
        ({"born": None, "reason": "moved"}, ["born", "reason"]),
    ],
    ids=str,
)
async def test_identity_data_that_differs_elsewhere_is_named_as_one_of_several(
    store: Store, clock: Clock, era: Era, changed: dict[str, Any], named: list[str]
) -> None:
    async with build_harness(store, clock, tools=(*TOOLS, send)).client(era) as client:
        asked = body(await client.call_tool("send", PERSON))
    stored = [
        row["details"] for row in await store.read(lambda db: db.execute("SELECT details FROM approvals").fetchall())
    ]
    assert json.loads(stored[0])["digests"].keys() == {"user_id", "reason"}
    async with build_harness(store, clock, tools=(*TOOLS, send)).client(era) as client:
        told = body(await client.call_tool("send", PERSON | changed | {"approval_id": asked["approval_id"]}))
    assert (told["code"], [fault["field"] for fault in told["fields"]]) == ("approval.mismatch", named)
    assert told["give_again"] == ["name", "born"]


async def test_mismatch_with_a_row_of_an_earlier_version_names_no_argument(store: Store, clock: Clock) -> None:
    async with build_harness(store, clock).client(MODERN) as client:
        approval_id = body(await client.call_tool("pay", PAY))["approval_id"]
    await store.run(lambda db: db.execute("UPDATE approvals SET details = json_remove(details, '$.digests')"))
    async with build_harness(store, clock).client(MODERN) as client:
        told = body(await client.call_tool("pay", PAY | {"note": "Dinner", "approval_id": approval_id}))
    assert (told["code"], [fault["field"] for fault in told["fields"]]) == ("approval.mismatch", ["(arguments)"])


@both_eras
async def test_identity_data_is_named_kept_and_never_repeated(store: Store, clock: Clock, era: Era) -> None:
    harness = build_harness(store, clock, tools=(*TOOLS, send))
    async with harness.client(era) as client:
        asked = body(await client.call_tool("send", PERSON | {"reason": "moved"}))
        assert asked["give_again"] == ["name", "born"]
        assert not {"Ada Lovelace", "1990-01-31"} & set(json.dumps(asked).split('"'))
        step = asked["next_steps"][0]
        assert step["arguments"].keys() == {"user_id", "reason", "approval_id", "wait_seconds"}
        changed = {**step["arguments"], "name": "Eve"}
        mismatch = body(await client.call_tool("send", changed))
        assert [fault["field"] for fault in mismatch["fields"]] == ["name"]
        assert mismatch["give_again"] == ["name", "born"]
        assert "Ada" not in json.dumps(mismatch)
        await harness.approvals.grant(asked["approval_id"], "terminal")
        assert code(await client.call_tool("send", step["arguments"])) == "ok"
    assert harness.upstream.paid == [("Ada Lovelace", "1990-01-31", 0)]


@both_eras
@pytest.mark.parametrize("granted", [False, True])
@pytest.mark.parametrize(
    ("name", "given", "hidden"),
    [
        ("send", PERSON | {"reason": "moved"}, ["name", "born"]),
        ("send", {"user_id": "user-1", "born": "1990-01-31"}, ["born"]),
        ("pay", PAY | {"note": CARD_NUMBER}, ["note"]),
        ("pay", PAY, []),
    ],
)
async def test_another_process_names_the_arguments_that_it_lacks(
    store: Store, clock: Clock, era: Era, name: str, given: dict[str, Any], hidden: list[str], granted: bool
) -> None:
    tools = (*TOOLS, send)
    first, later = (build_harness(store, clock, tools=tools) for _ in range(2))
    async with first.client(era) as client:
        asked = body(await client.call_tool(name, given))
    step = asked["next_steps"][0]["arguments"] | {"wait_seconds": 0}
    if granted:
        await later.guard.channels.grant(asked["approval_id"], "terminal")
    async with later.client(era) as client:
        if hidden:
            told = body(await client.call_tool(name, step))
            assert (told["code"], told["give_again"], told["retryable"]) == ("approval.mismatch", hidden, True)
            assert told["fields"] == [
                {"field": each, "rule": "is missing; give it again, unchanged"} for each in hidden
            ]
            wrong = {each: "other" for each in hidden}
            told = body(await client.call_tool(name, step | wrong))
            assert told["give_again"] == [each["field"] for each in told["fields"]] == hidden
        found = await client.call_tool(name, step | {each: given[each] for each in hidden})
    assert code(found) == ("ok" if granted else "approval.required")


@both_eras
async def test_identity_data_is_forgotten_when_the_person_refuses(store: Store, clock: Clock, era: Era) -> None:
    harness = build_harness(store, clock, tools=(*TOOLS, send))
    async with harness.client(era) as client:
        asked = body(await client.call_tool("send", PERSON))
        await harness.approvals.refuse(asked["approval_id"], "terminal")
        assert (await _step(client, asked))["code"] == "approval.refused"
        told = await _step(client, asked)
    assert (told["code"], [each["field"] for each in told["fields"]]) == ("approval.mismatch", ["name", "born"])


@both_eras
async def test_text_that_would_be_masked_is_kept_instead_of_repeated(harness: Harness, era: Era) -> None:
    async with harness.client(era) as client:
        asked = body(await client.call_tool("pay", PAY | {"note": CARD_NUMBER}))
        assert asked["give_again"] == ["note"]
        assert CARD_NUMBER not in json.dumps(asked)
        await harness.approvals.grant(asked["approval_id"], "terminal")
        assert code(await client.call_tool("pay", asked["next_steps"][0]["arguments"])) == "ok"


@both_eras
async def test_errors_that_changed_nothing_repeat_the_whole_call(harness: Harness, era: Era) -> None:
    harness.upstream.before = _raising(ToolError(Code.RATE_LIMITED, details={"retry_after_seconds": 2}))
    async with harness.client(era) as client:
        refused = body(await client.call_tool("note", PAY))
        assert refused["next_steps"] == [
            {"tool": "note", "why": "Repeat the same call after 2 seconds.", "arguments": PAY}
        ]
        harness.upstream.before = harness.upstream.after
        assert (await _step(client, refused))["receipt"] == 1


@both_eras
async def test_unknown_outcome_repeats_the_whole_call(harness: Harness, era: Era) -> None:
    harness.upstream.before = _raising(ToolError(Code.OUTCOME_UNKNOWN))
    async with harness.client(era, FakeApprover()) as client:
        told = body(await client.call_tool("pay", PAY))
        assert told["next_steps"][0]["arguments"] == PAY | {"approval_id": told["approval_id"]}
        assert (await _step(client, told))["code"] == "outcome.unknown"


@both_eras
async def test_invalid_arguments_suggest_no_call_that_would_fail_again(harness: Harness, era: Era) -> None:
    async with harness.client(era) as client:
        told = body(await client.call_tool("pay", {"amount_cents": "x"}))
    assert (told["code"], told["next_steps"]) == ("input.invalid", [])


# Waiting for the decision


@both_eras
@pytest.mark.parametrize("decision", ["grant", "refuse"])
async def test_repeated_call_waits_for_a_decision_of_any_process(
    store: Store, clock: Clock, era: Era, decision: str
) -> None:
    harness, told, reported = build_harness(store, clock), list[str](), anyio.Event()
    # Another process has a guard of its own.
    rules = default_policy("embedded", read_only=False)
    other = build_guard(store, rules, Principal.of(None, rules.users), clock=clock)

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")
        reported.set()

    async with harness.client(era) as client, anyio.create_task_group() as tasks:
        asked = body(await client.call_tool("pay", PAY))
        answers: list[str] = []

        async def wait() -> None:
            step = {**asked["next_steps"][0]["arguments"], "wait_seconds": 50}
            answers.append(code(await client.call_tool("pay", step, progress_callback=progress)))

        tasks.start_soon(wait)
        await reported.wait()
        assert answers == []
        decide = other.approvals.grant if decision == "grant" else other.approvals.refuse
        assert await decide(asked["approval_id"], "terminal")
    assert answers == ["ok" if decision == "grant" else "approval.refused"]
    assert told[0] == "a person's decision"
    assert len(harness.upstream.paid) == (decision == "grant")


@both_eras
async def test_cancelled_wait_leaves_the_approval_waiting(harness: Harness, era: Era) -> None:
    reported = anyio.Event()

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        reported.set()

    async with harness.client(era) as client:
        asked = body(await client.call_tool("pay", PAY))
        step = asked["next_steps"][0]["arguments"]
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                await client.call_tool("pay", {**step, "wait_seconds": 50}, progress_callback=progress)

            tasks.start_soon(wait)
            await reported.wait()
            tasks.cancel_scope.cancel()
        assert await harness.guard.channels.get(asked["approval_id"]) is not None
        await harness.approvals.grant(asked["approval_id"], "terminal")
        assert code(await client.call_tool("pay", step)) == "ok"
    assert len(harness.upstream.paid) == 1


@both_eras
async def test_wait_in_vain_says_so_and_suggests_the_same_wait(
    harness: Harness, era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machines_mcp.protocol.decision_wait.LOOK_SECONDS", 0.01)
    async with harness.client(era) as client:
        asked = body(await client.call_tool("pay", PAY))
        assert "still_waiting" not in asked
        told = body(await client.call_tool("pay", {**asked["next_steps"][0]["arguments"], "wait_seconds": 1}))
    assert (told["code"], told["still_waiting"]) == ("approval.required", True)
    assert told["next_steps"] == asked["next_steps"]


async def test_expiry_ends_a_wait(harness: Harness, clock: Clock) -> None:
    reported = anyio.Event()
    answers: list[str] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        reported.set()

    async with harness.client(MODERN) as client, anyio.create_task_group() as tasks:
        asked = body(await client.call_tool("pay", PAY))

        async def wait() -> None:
            step = {**asked["next_steps"][0]["arguments"], "wait_seconds": 50}
            answers.append(code(await client.call_tool("pay", step, progress_callback=progress)))

        tasks.start_soon(wait)
        await reported.wait()
        clock.advance(OPEN_SECONDS + GRANT_SECONDS)
    assert answers == ["approval.expired"]

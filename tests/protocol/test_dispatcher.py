"""One call, from raw arguments to its answer: what is asked, what runs, how often, and what is said of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client, MCPError

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approvals import GRANT_SECONDS, OPEN_SECONDS
from machines_mcp.permissions.authorizer import Authorizer
from machines_mcp.permissions.policy import Policy, Rule, default_policy
from machines_mcp.protocol import execution
from machines_mcp.protocol.errors import Code, NextStep, ToolError
from machines_mcp.protocol.tool import Tool
from machines_mcp.storage.database import Store, StoreUnavailable
from tests.protocol.fakes import (
    ERAS,
    MODERN,
    Era,
    House,
    Person,
    UpstreamError,
    body,
    change,
    code,
    house,
    look,
    says,
)
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

ARGUMENTS: Mapping[str, Any] = {"user_id": "user-1", "amount_cents": 500}
CANARY = "canary-7f3a"

both_eras = pytest.mark.parametrize("era", ERAS)


async def _only_intent(home: House) -> Approval:
    (approval,) = await home.approvals.waiting()
    return approval


async def _approval_id(client: Client, **changed: Any) -> str:
    answer = await client.call_tool("pay", {**ARGUMENTS, **changed})
    assert code(answer) == "approval.required"
    return str(body(answer)["approval_id"])


# A dialog


@both_eras
async def test_a_yes_runs_the_call_once_and_the_question_is_the_stored_one(home: House, era: Era) -> None:
    person = says("accept")
    stored: list[str] = []

    async def look_it_up() -> None:
        stored.append((await _only_intent(home)).dialog)

    person.during = look_it_up
    async with home.client(era, person) as client:
        answer = await client.call_tool("pay", {**ARGUMENTS, "note": "thanks"})
    assert body(answer) == {
        "receipt": 1,
        "amount_cents": 500,
        "note": "thanks",
        "next_steps": [],
        "environment": "test",
    }
    assert person.asked == stored == ["Pay 500 cents for user-1?\nAsked by “mcp 0.1.0” (as it calls itself)."]
    assert len(home.world.paid) == 1


@both_eras
async def test_each_call_without_an_id_is_asked_anew(home: House, era: Era) -> None:
    person = says("accept")
    async with home.client(era, person) as client:
        receipts = [body(await client.call_tool("pay", {**ARGUMENTS}))["receipt"] for _ in range(2)]
    assert receipts == [1, 2]
    assert len(person.asked) == 2
    keys = {key for _, key, _ in home.world.paid}
    assert len(keys) == 2


@both_eras
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (types.ElicitResult(action="decline"), "approval.refused"),
        (types.ElicitResult(action="cancel"), "approval.required"),
    ],
    ids=["decline", "cancel"],
)
async def test_anything_but_a_yes_runs_nothing(
    home: House, era: Era, answer: types.ElicitResult, expected: str
) -> None:
    async with home.client(era, Person(answer)) as client:
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == expected
    assert home.world.paid == []


async def test_a_client_program_that_fails_to_ask_has_approved_nothing(home: House) -> None:
    broken = Person(types.ErrorData(code=-32603, message="accept"))
    async with home.client("legacy", broken) as client:
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "approval.required"
    assert home.world.paid == []


async def test_a_dialog_without_an_answer_in_time_becomes_a_waiting_approval(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machines_mcp.protocol.elicitation.ANSWER_SECONDS", 0.05)
    slow = says("accept")
    slow.during = anyio.Event().wait
    async with home.client("legacy", slow) as client:
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "approval.required"
    assert home.world.paid == []
    assert (await _only_intent(home)).state == "waiting"


@both_eras
async def test_a_yes_that_comes_too_late_runs_nothing(home: House, clock: Clock, era: Era) -> None:
    person = says("accept")

    async def dawdle() -> None:
        clock.advance(OPEN_SECONDS)

    person.during = dawdle
    async with home.client(era, person) as client:
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "approval.expired"
    assert home.world.paid == []


@both_eras
async def test_a_yes_to_what_was_refused_elsewhere_meanwhile_runs_nothing(home: House, era: Era) -> None:
    person = says("accept")

    async def refuse() -> None:
        await home.approvals.refuse((await _only_intent(home)).id, "terminal")

    person.during = refuse
    async with home.client(era, person) as client:
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "approval.refused"
    assert home.world.paid == []


@both_eras
async def test_a_question_that_is_refused_beforehand_asks_nobody(home: House, era: Era) -> None:
    person = says("accept")

    async def refuse() -> None:
        raise ToolError(Code.KYC_NOT_APPROVED)

    home.world.on_question = refuse
    async with home.client(era, person) as client:
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "kyc.not_approved"
    assert person.asked == []
    assert await home.approvals.waiting() == []


# An approval elsewhere


@both_eras
async def test_without_a_dialog_the_approval_is_given_elsewhere_and_used_once(home: House, era: Era) -> None:
    async with home.client(era) as client:
        approval = await _approval_id(client)
        again = {**ARGUMENTS, "approval_id": approval}
        assert code(await client.call_tool("pay", again)) == "approval.required"
        await home.approvals.grant(approval, "terminal")
        first = body(await client.call_tool("pay", again))
        second = body(await client.call_tool("pay", again))
    assert first == second
    assert first["receipt"] == 1
    assert home.world.paid == [("user-1", f"machines-{approval}", 500)]


@both_eras
async def test_while_a_call_waits_its_equal_gets_the_same_id(home: House, era: Era) -> None:
    async with home.client(era) as client:
        first = await _approval_id(client)
        assert await _approval_id(client) == first
        assert await _approval_id(client, amount_cents=501) != first


@both_eras
async def test_what_a_person_refused_stays_refused(home: House, era: Era) -> None:
    async with home.client(era) as client:
        approval = await _approval_id(client)
        await home.approvals.refuse(approval, "terminal")
        await home.approvals.grant(approval, "terminal")
        answers = [await client.call_tool("pay", {**ARGUMENTS, "approval_id": approval}) for _ in range(2)]
    assert [code(answer) for answer in answers] == ["approval.refused"] * 2
    assert home.world.paid == []


@pytest.mark.parametrize(
    "changed",
    [
        {"amount_cents": 501},
        {"note": "x"},
        {"kind": "bill"},
        {"user_id": "user-2"},
    ],
    ids=lambda changed: next(iter(changed)),
)
@both_eras
async def test_a_granted_id_is_worth_nothing_with_changed_arguments(
    home: House, era: Era, changed: dict[str, Any]
) -> None:
    async with home.client(era) as client:
        approval = await _approval_id(client)
        await home.approvals.grant(approval, "terminal")
        other = await client.call_tool("pay", {**ARGUMENTS, **changed, "approval_id": approval})
        assert code(other) == "approval.mismatch"
        assert home.world.paid == []
        assert code(await client.call_tool("pay", {**ARGUMENTS, "approval_id": approval})) == "ok"


@both_eras
async def test_a_granted_id_is_worth_nothing_to_another_tool_and_an_invented_one_to_all(home: House, era: Era) -> None:
    async with home.client(era) as client:
        approval = await _approval_id(client)
        await home.approvals.grant(approval, "terminal")
        for tool, given in (("tip", approval), ("change", approval), ("pay", "0" * 32)):
            answer = await client.call_tool(tool, {**ARGUMENTS, "approval_id": given})
            assert code(answer) == "approval.mismatch"
    assert home.world.paid == []


@both_eras
@pytest.mark.parametrize("given", [CANARY, "A" * 32, 7, True, ["0" * 32], {"id": "0" * 32}])
async def test_a_malformed_approval_id_is_refused_without_being_repeated(home: House, era: Era, given: object) -> None:
    async with home.client(era, says("accept")) as client:
        answer = await client.call_tool("pay", {**ARGUMENTS, "approval_id": given})
    assert code(answer) == "input.invalid"
    assert [fault["field"] for fault in body(answer)["fields"]] == ["approval_id"]
    assert CANARY not in json.dumps(body(answer))
    assert home.world.paid == []


async def test_an_approval_id_is_no_argument_of_a_tool_that_never_asks(home: House) -> None:
    async with home.client(MODERN) as client:
        answer = await client.call_tool("look", {"approval_id": "0" * 32})
    assert code(answer) == "input.invalid"


@both_eras
@pytest.mark.parametrize(("granted", "seconds"), [(False, OPEN_SECONDS), (True, GRANT_SECONDS)])
async def test_an_approval_that_was_not_given_or_used_in_time_is_asked_anew(
    home: House, clock: Clock, era: Era, granted: bool, seconds: float
) -> None:
    async with home.client(era) as client:
        approval = await _approval_id(client)
        if granted:
            await home.approvals.grant(approval, "terminal")
        clock.advance(seconds)
        assert code(await client.call_tool("pay", {**ARGUMENTS, "approval_id": approval})) == "approval.expired"
        assert await _approval_id(client) != approval
    assert home.world.paid == []


@both_eras
async def test_of_fifty_repeats_at_once_one_runs(home: House, era: Era) -> None:
    codes: list[str] = []
    async with home.client(era) as client:
        approval = await _approval_id(client)
        await home.approvals.grant(approval, "terminal")

        async def repeat() -> None:
            codes.append(code(await client.call_tool("pay", {**ARGUMENTS, "approval_id": approval})))

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(repeat)
        assert len(home.world.paid) == 1
        assert len(codes) == 50
        assert set(codes) <= {"ok", "outcome.unknown"}
        assert codes.count("ok") >= 1
        last = await client.call_tool("pay", {**ARGUMENTS, "approval_id": approval})
    assert body(last)["receipt"] == 1


@both_eras
@pytest.mark.parametrize("change", ["mismatch", "expired", "refused"])
async def test_an_answer_about_an_approval_repeats_no_argument(
    home: House, clock: Clock, era: Era, change: str
) -> None:
    async with home.client(era) as client:
        approval = await _approval_id(client, note=CANARY)
        if change == "expired":
            clock.advance(OPEN_SECONDS)
        if change == "refused":
            await home.approvals.refuse(approval, "terminal")
        given = CANARY.upper() if change == "mismatch" else CANARY
        answer = await client.call_tool("pay", {**ARGUMENTS, "note": given, "approval_id": approval})
    assert code(answer) == f"approval.{change}"
    assert CANARY not in json.dumps(body(answer)).lower()


# The sealed state of 2026-07-28


class Rounds:
    """A client program that sends what it likes in place of what its person said."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def first(self, tool: str = "pay", **changed: Any) -> types.InputRequiredResult:
        """The round that asks."""
        found = await self.client.session.call_tool(tool, {**ARGUMENTS, **changed}, allow_input_required=True)
        assert isinstance(found, types.InputRequiredResult)
        assert found.input_requests is not None
        return found

    async def then(
        self, state: str | None, responses: Mapping[str, Any] | None, tool: str = "pay", **changed: Any
    ) -> types.CallToolResult | types.InputRequiredResult:
        """The round that answers, in raw JSON."""
        params: dict[str, Any] = {"name": tool, "arguments": {**ARGUMENTS, **changed}, "requestState": state}
        if responses is not None:
            params["inputResponses"] = responses
        request = types.CallToolRequest(params=types.CallToolRequestParams.model_validate(params, by_name=False))
        return await self.client.session.send_request(request, types.CallToolResult)


ACCEPT: Mapping[str, Any] = {"approve": {"action": "accept", "content": {}}}


async def test_the_same_sealed_yes_sent_three_times_runs_once_and_is_answered_alike(home: House) -> None:
    async with home.client(MODERN, says("accept")) as client:
        rounds = Rounds(client)
        asked = await rounds.first()
        answers = [body(await rounds.then(asked.request_state, ACCEPT)) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(home.world.paid) == 1


async def test_fifty_sealed_yeses_at_once_run_once(home: House) -> None:
    codes: list[str] = []
    async with home.client(MODERN, says("accept")) as client:
        rounds = Rounds(client)
        asked = await rounds.first()

        async def repeat() -> None:
            codes.append(code(await rounds.then(asked.request_state, ACCEPT)))

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(repeat)
    assert len(home.world.paid) == 1
    assert len(codes) == 50
    assert set(codes) <= {"ok", "outcome.unknown"}


async def test_a_sealed_no_is_not_turned_into_a_yes_by_sending_it_again(home: House) -> None:
    async with home.client(MODERN, says("accept")) as client:
        rounds = Rounds(client)
        asked = await rounds.first()
        assert code(await rounds.then(asked.request_state, {"approve": {"action": "decline"}})) == "approval.refused"
        assert code(await rounds.then(asked.request_state, ACCEPT)) == "approval.refused"
    assert home.world.paid == []


async def test_a_sealed_no_after_the_yes_changes_nothing(home: House) -> None:
    async with home.client(MODERN, says("accept")) as client:
        rounds = Rounds(client)
        asked = await rounds.first()
        first = body(await rounds.then(asked.request_state, ACCEPT))
        assert body(await rounds.then(asked.request_state, {"approve": {"action": "decline"}})) == first


@pytest.mark.parametrize(
    "responses",
    [
        None,
        {},
        {"other": {"action": "accept", "content": {}}},
        {"approve": {"action": "cancel"}},
        {"approve": {"roots": []}},
    ],
    ids=["none", "empty", "another question", "cancel", "another kind"],
)
async def test_a_state_without_a_yes_to_its_question_runs_nothing(
    home: House, responses: dict[str, Any] | None
) -> None:
    async with home.client(MODERN, says("accept")) as client:
        rounds = Rounds(client)
        asked = await rounds.first()
        assert code(await rounds.then(asked.request_state, responses)) == "approval.required"
    assert home.world.paid == []


async def test_a_sealed_yes_is_bound_to_the_arguments_the_tool_and_the_folders_key(
    home: House, store: Store, clock: Clock
) -> None:
    other = house(store, clock, key=b"o" * 32)
    async with home.client(MODERN, says("accept")) as client, other.client(MODERN, says("accept")) as stranger:
        rounds = Rounds(client)
        state = (await rounds.first()).request_state
        assert state is not None
        attempts: list[Awaitable[Any]] = [
            rounds.then(state, ACCEPT, amount_cents=501),
            rounds.then(state, ACCEPT, user_id="user-2"),
            rounds.then(state, ACCEPT, tool="tip"),
            rounds.then(state[:-2] + ("AA" if state[-2:] != "AA" else "BB"), ACCEPT),
            Rounds(stranger).then(state, ACCEPT),
        ]
        for attempt in attempts:
            with pytest.raises(MCPError) as refused:
                await attempt
            assert refused.value.error.code == types.INVALID_PARAMS
    assert home.world.paid == other.world.paid == []


async def test_servers_that_share_a_folder_and_its_key_know_each_others_questions(
    home: House, store: Store, clock: Clock
) -> None:
    twin = house(store, clock)
    async with home.client(MODERN, says("accept")) as client, twin.client(MODERN, says("accept")) as other:
        state = (await Rounds(client).first()).request_state
        assert code(await Rounds(other).then(state, ACCEPT)) == "ok"
        assert code(await Rounds(client).then(state, ACCEPT)) == "ok"
    assert len(home.world.paid) + len(twin.world.paid) == 1


@both_eras
async def test_a_bare_id_is_no_sealed_state(home: House, era: Era) -> None:
    async with home.client(era) as client:
        approval = await _approval_id(client)
        with pytest.raises(MCPError) as refused:
            await Rounds(client).then(approval, ACCEPT)
    assert refused.value.error.code == types.INVALID_PARAMS
    assert home.world.paid == []


# The policy


@both_eras
@pytest.mark.parametrize(("tool", "extra"), [("pay", {}), ("note", {}), ("change", {"harmless": True})])
async def test_what_the_policy_denies_is_neither_asked_nor_run(
    store: Store, clock: Clock, era: Era, tool: str, extra: dict[str, Any]
) -> None:
    home = house(store, clock, policy=default_policy("embedded", read_only=True))
    person = says("accept")
    async with home.client(era, person) as client:
        answer = await client.call_tool(tool, {**ARGUMENTS, **extra})
        listed = {found.name for found in (await client.list_tools()).tools}
    assert code(answer) == "policy.denied"
    assert "MACHINES_READ_ONLY" in body(answer)["message"]
    assert body(answer)["retryable"] is False
    assert listed == {"look"}
    assert person.asked == []
    assert home.world.asked == 0
    assert home.world.paid == []


async def test_a_denied_class_can_not_be_approved_either(store: Store, clock: Clock, home: House) -> None:
    async with home.client(MODERN) as client:
        approval = await _approval_id(client)
    await home.approvals.grant(approval, "terminal")
    strict = house(store, clock, policy=Policy({ActionClass.READ: Rule.ALLOW}, "no"))
    async with strict.client(MODERN) as client:
        answer = await client.call_tool("pay", {**ARGUMENTS, "approval_id": approval})
    assert code(answer) == "policy.denied"
    assert strict.world.paid == []


@both_eras
async def test_the_class_of_a_call_follows_from_its_arguments(home: House, era: Era) -> None:
    async with home.client(era) as client:
        assert code(await client.call_tool("change", {**ARGUMENTS, "harmless": True})) == "ok"
        assert code(await client.call_tool("change", {**ARGUMENTS, "harmless": False})) == "approval.required"
    assert len(home.world.paid) == 1


@both_eras
@pytest.mark.parametrize("declared", [change, look], ids=lambda tool: tool.name)
async def test_a_class_that_the_tool_does_not_declare_is_refused(
    store: Store, clock: Clock, era: Era, declared: Tool
) -> None:
    # All classes are allowed, so only the declaration stands in the way.
    free = Policy(dict.fromkeys(ActionClass, Rule.ALLOW), "")
    astray = replace(declared, action_class_of=lambda _: ActionClass.DESTROY)
    home = house(store, clock, policy=free, tools=[astray])
    arguments: Mapping[str, Any] = ARGUMENTS if declared is change else {}
    async with home.client(era, says("accept")) as client:
        answer = await client.call_tool(astray.name, {**arguments})
    assert code(answer) == "internal"
    assert home.world.paid == []


@both_eras
async def test_a_pinned_server_acts_for_its_user_and_takes_no_other(store: Store, clock: Clock, era: Era) -> None:
    home = house(store, clock, pinned_user="user-9")
    async with home.client(era) as client:
        assert code(await client.call_tool("note", {"amount_cents": 5})) == "ok"
        for given in ("user-9", "user-1", None):
            answer = await client.call_tool("note", {"amount_cents": 5, "user_id": given})
            assert code(answer) == "input.invalid"
            assert body(answer)["fields"][0]["field"] == "user_id"
    assert [user for user, _, _ in home.world.paid] == ["user-9"]


async def test_calls_that_nobody_is_asked_for_have_a_key_each(home: House) -> None:
    async with home.client(MODERN) as client:
        for _ in range(3):
            await client.call_tool("note", {**ARGUMENTS})
    assert len({key for _, key, _ in home.world.paid}) == 3


@both_eras
async def test_progress_reaches_the_client(home: House, era: Era) -> None:
    seen: list[tuple[float, float | None, str | None]] = []
    heard = anyio.Event()

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))
        heard.set()

    home.world.after = heard.wait
    async with home.client(era) as client:
        await client.call_tool("look", {}, progress_callback=listen)
    assert seen == [(0.5, 1.0, "half way")]


# What goes wrong


async def _raise(error: BaseException) -> None:
    raise error


def _raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    return lambda: _raise(error)


@both_eras
async def test_an_unknown_tool_is_named_neither_in_the_answer_nor_in_the_log(
    home: House, era: Era, caplog: pytest.LogCaptureFixture
) -> None:
    async with home.client(era) as client:
        answer = await client.call_tool(CANARY, {CANARY: CANARY})
    assert code(answer) == "tool.unknown"
    assert CANARY not in json.dumps(body(answer)) + caplog.text


FAILURES: list[tuple[BaseException, str]] = [
    (ValueError(CANARY), "internal"),
    (ExceptionGroup(CANARY, [KeyError(CANARY)]), "internal"),
    (TimeoutError(CANARY), "internal"),
    (UpstreamError(CANARY), "partner.unavailable"),
    (ToolError(Code.RATE_LIMITED), "rate.limited"),
    (StoreUnavailable(CANARY), "state.unavailable"),
]


@both_eras
@pytest.mark.parametrize(("error", "expected"), FAILURES, ids=lambda value: type(value).__name__)
async def test_an_exception_becomes_an_error_of_the_catalogue_without_its_text(
    home: House, era: Era, error: BaseException, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    home.world.before = _raising(error)
    async with home.client(era) as client:
        answer = await client.call_tool("note", {**ARGUMENTS})
    assert code(answer) == expected
    assert CANARY not in json.dumps(body(answer)) + caplog.text
    assert home.world.paid == []


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(CANARY), SystemExit(CANARY), BaseExceptionGroup(CANARY, [SystemExit(CANARY)])]
)
@pytest.mark.parametrize("tool", ["note", "pay"])
async def test_a_tool_cannot_end_the_server(
    home: House, tool: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    # A library that lets a CancelledError slip, or calls sys.exit, must cost its call and no more.
    caplog.set_level(logging.DEBUG)
    home.world.before = _raising(error)
    async with home.client("legacy", says("accept")) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool(tool, {**ARGUMENTS})
        assert refused.value.error.code == types.INTERNAL_ERROR
        assert code(await client.call_tool("look", {"deep": True})) == "input.invalid"
    assert CANARY not in refused.value.error.model_dump_json() + caplog.text


@both_eras
@pytest.mark.parametrize("final", [Code.PARTNER_REJECTED, Code.QUOTE_EXPIRED])
async def test_a_known_failure_of_a_granted_call_is_its_outcome(home: House, era: Era, final: Code) -> None:
    home.world.before = _raising(ToolError(final))
    async with home.client(era) as client:
        approval = await _approval_id(client)
        await home.approvals.grant(approval, "terminal")
        again = {**ARGUMENTS, "approval_id": approval}
        first = body(await client.call_tool("pay", again))
        home.world.before = _raising(AssertionError("it ran again"))
        second = body(await client.call_tool("pay", again))
    assert first["code"] == final.value
    assert first == second


@both_eras
async def test_that_nobody_knows_is_no_outcome_and_names_the_call_that_finds_out(home: House, era: Era) -> None:
    home.world.after = _raising(
        ToolError(Code.OUTCOME_UNKNOWN, next_steps=[NextStep("look", "See whether it happened.")])
    )
    async with home.client(era) as client:
        approval = await _approval_id(client)
        await home.approvals.grant(approval, "terminal")
        again = {**ARGUMENTS, "approval_id": approval}
        first = body(await client.call_tool("pay", again))
        kept = await home.approvals.get(approval)
    assert (first["code"], first["approval_id"], first["retryable"]) == ("outcome.unknown", approval, True)
    assert [step["tool"] for step in first["next_steps"]] == ["pay", "look"]
    assert first["next_steps"][0]["arguments"] == {"approval_id": approval}
    assert kept is not None
    assert (kept.state, kept.outcome) == ("executing", None)
    assert not home.approvals.running(kept)


PASSING = [UpstreamError(CANARY), ToolError(Code.RATE_LIMITED, details={"retry_after_seconds": 3})]


@both_eras
@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
async def test_a_granted_call_that_was_not_begun_runs_at_its_repetition_under_the_same_key(
    home: House, era: Era, error: Exception
) -> None:
    home.world.before = _raising(error)
    async with home.client(era) as client:
        approval = await _approval_id(client)
        await home.approvals.grant(approval, "terminal")
        again = {**ARGUMENTS, "approval_id": approval}
        refused = [body(await client.call_tool("pay", again)) for _ in range(2)]
        home.world.before = home.world.after
        done = [body(await client.call_tool("pay", again)) for _ in range(2)]
    assert refused[0] == refused[1]
    assert refused[0]["retryable"] is True
    step = refused[0]["next_steps"][0]
    assert (step["tool"], step["arguments"]) == ("pay", {"approval_id": approval})
    assert done[0] == done[1]
    assert home.world.paid == [("user-1", f"machines-{approval}", 500)]


@both_eras
async def test_what_was_approved_in_a_dialog_and_not_begun_is_repeated_without_a_second_dialog(
    home: House, era: Era
) -> None:
    home.world.before = _raising(UpstreamError(CANARY))
    person = says("accept")
    async with home.client(era, person) as client:
        refused = body(await client.call_tool("pay", {**ARGUMENTS}))
        home.world.before = home.world.after
        again = {**ARGUMENTS, "approval_id": refused["approval_id"]}
        assert code(await client.call_tool("pay", {**again, "amount_cents": 501})) == "approval.mismatch"
        assert code(await client.call_tool("pay", again)) == "ok"
    assert len(person.asked) == len(home.world.paid) == 1


@both_eras
async def test_a_grant_that_was_given_back_lasts_no_longer_than_before(home: House, clock: Clock, era: Era) -> None:
    home.world.before = _raising(UpstreamError(CANARY))
    async with home.client(era) as client:
        approval = await _approval_id(client)
        await home.approvals.grant(approval, "terminal")
        again = {**ARGUMENTS, "approval_id": approval}
        clock.advance(GRANT_SECONDS - 1)
        assert code(await client.call_tool("pay", again)) == "partner.unavailable"
        clock.advance(1)
        assert code(await client.call_tool("pay", again)) == "approval.expired"
    assert home.world.paid == []


@both_eras
async def test_a_grant_that_can_not_be_given_back_is_used_up(
    home: House, era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: Authorizer, approval: Approval) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(Authorizer, "return_grant", full)
    home.world.before = _raising(UpstreamError(CANARY))
    async with home.client(era) as client:
        approval = await _approval_id(client)
        await home.approvals.grant(approval, "terminal")
        again = {**ARGUMENTS, "approval_id": approval}
        refused = body(await client.call_tool("pay", again))
        assert (refused["code"], "approval_id" in refused) == ("partner.unavailable", False)
        assert code(await client.call_tool("pay", again)) == "outcome.unknown"


@both_eras
@pytest.mark.parametrize("error", [ValueError(CANARY), StoreUnavailable(CANARY)])
async def test_a_granted_call_that_failed_unforeseen_may_have_happened_and_says_so(
    home: House, era: Era, error: Exception
) -> None:
    home.world.after = _raising(error)
    async with home.client(era) as client:
        approval = await _approval_id(client)
        await home.approvals.grant(approval, "terminal")
        again = {**ARGUMENTS, "approval_id": approval}
        codes = [code(await client.call_tool("pay", again)) for _ in range(3)]
    assert codes == ["outcome.unknown"] * 3
    assert len(home.world.paid) == 1


@both_eras
async def test_a_granted_call_that_takes_too_long_is_unknown_and_never_repeated(
    home: House, era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "EXECUTION_SECONDS", 0.05)
    home.world.after = anyio.Event().wait
    async with home.client(era) as client:
        approval = await _approval_id(client)
        await home.approvals.grant(approval, "terminal")
        again = {**ARGUMENTS, "approval_id": approval}
        codes = [code(await client.call_tool("pay", again)) for _ in range(2)]
    assert codes == ["outcome.unknown"] * 2
    assert len(home.world.paid) == 1


@both_eras
async def test_what_was_done_is_said_even_if_it_cannot_be_written_down(
    home: House, era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: Authorizer, approval: Approval, outcome: str, *, ok: bool, code: str) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(Authorizer, "finish", full)
    async with home.client(era) as client:
        approval = await _approval_id(client)
        await home.approvals.grant(approval, "terminal")
        again = {**ARGUMENTS, "approval_id": approval}
        assert body(await client.call_tool("pay", again))["receipt"] == 1
        assert code(await client.call_tool("pay", again)) == "outcome.unknown"
    assert len(home.world.paid) == 1


@both_eras
async def test_without_the_store_nothing_that_needs_a_person_runs(home: House, store: Store, era: Era) -> None:
    async with home.client(era, says("accept")) as client:
        await store.read(lambda db: db.execute("PRAGMA query_only = ON"))
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "state.unavailable"
    assert home.world.paid == []


# A client that gives up


async def test_a_cancelled_call_stops_at_once_and_is_no_failure(home: House, caplog: pytest.LogCaptureFixture) -> None:
    begun, stopped = anyio.Event(), anyio.Event()

    async def wait() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    home.world.before = wait
    async with home.client("legacy") as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "note", {**ARGUMENTS})
            await begun.wait()
            tasks.cancel_scope.cancel()
        await stopped.wait()
        assert code(await client.call_tool("look", {"deep": True})) == "input.invalid"
    assert home.world.paid == []
    assert caplog.text == ""


async def test_a_granted_call_that_is_cancelled_comes_to_its_end_and_keeps_its_outcome(home: House) -> None:
    begun, go = anyio.Event(), anyio.Event()

    async def wait() -> None:
        begun.set()
        await go.wait()

    home.world.before = wait
    async with home.client("legacy") as client:
        approval = await _approval_id(client)
        await home.approvals.grant(approval, "terminal")
        again = {**ARGUMENTS, "approval_id": approval}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "pay", again)
            await begun.wait()
            tasks.cancel_scope.cancel()
        # The server has heard of the cancellation once it answers what was sent after it.
        assert code(await client.call_tool("pay", again)) == "outcome.unknown"
        go.set()
        while (found := await client.call_tool("pay", again)).is_error:
            assert code(found) == "outcome.unknown"
    assert body(found)["receipt"] == 1
    assert len(home.world.paid) == 1


async def test_a_call_that_is_cancelled_while_its_dialog_is_open_runs_nothing(home: House) -> None:
    asked, person = anyio.Event(), says("accept")

    async def hang() -> None:
        asked.set()
        await anyio.sleep_forever()

    person.during = hang
    async with home.client("legacy", person) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "pay", {**ARGUMENTS})
            await asked.wait()
            tasks.cancel_scope.cancel()
        assert (await _only_intent(home)).state == "waiting"
    assert home.world.paid == []

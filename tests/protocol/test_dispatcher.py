"""Tool calls from raw arguments to result: the question, the number of executions, and the response."""

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
from tests.support.approver import FakeApprover
from tests.support.clock import Clock
from tests.support.fake_tools import (
    ERAS,
    MODERN,
    Era,
    Harness,
    UpstreamError,
    body,
    build_harness,
    change,
    code,
    look,
)

pytestmark = pytest.mark.anyio

ARGUMENTS: Mapping[str, Any] = {"user_id": "user-1", "amount_cents": 500}
CANARY = "canary-7f3a"

both_eras = pytest.mark.parametrize("era", ERAS)


async def _only_approval(harness: Harness) -> Approval:
    (approval,) = await harness.approvals.waiting()
    return approval


async def _approval_id(client: Client, **changed: Any) -> str:
    answer = await client.call_tool("pay", {**ARGUMENTS, **changed})
    assert code(answer) == "approval.required"
    return str(body(answer)["approval_id"])


async def _granted_call(client: Client, harness: Harness) -> dict[str, Any]:
    """Request an approval and grant it. Returns the arguments of the call that uses it."""
    approval = await _approval_id(client)
    await harness.approvals.grant(approval, "terminal")
    return {**ARGUMENTS, "approval_id": approval}


# Dialog


@both_eras
async def test_accepting_runs_the_call_once_and_shows_the_stored_question(harness: Harness, era: Era) -> None:
    person = FakeApprover()
    stored: list[str] = []

    async def look_it_up() -> None:
        stored.append((await _only_approval(harness)).dialog())

    person.during = look_it_up
    async with harness.client(era, person) as client:
        answer = await client.call_tool("pay", {**ARGUMENTS, "note": "thanks"})
    assert body(answer) == {
        "receipt": 1,
        "amount_cents": 500,
        "note": "thanks",
        "next_steps": [],
        "environment": "test",
    }
    written = "User: “user-1” (from the agent)\nAmount: $5.00\nNote: “thanks” (from the agent)"
    arguments = f"{written}\nKind: “gift” (from the agent)"
    asked = f"Pay 500 cents for user-1?\n{arguments}\nAsked by “mcp 0.1.0” (self-reported name)."
    assert person.asked == stored == [asked]
    assert len(harness.upstream.paid) == 1


@both_eras
async def test_each_call_without_an_id_asks_again(harness: Harness, era: Era) -> None:
    person = FakeApprover()
    async with harness.client(era, person) as client:
        receipts = [body(await client.call_tool("pay", {**ARGUMENTS}))["receipt"] for _ in range(2)]
    assert receipts == [1, 2]
    assert len(person.asked) == 2
    keys = {key for _, key, _ in harness.upstream.paid}
    assert len(keys) == 2


@both_eras
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (types.ElicitResult(action="decline"), "approval.refused"),
        (types.ElicitResult(action="cancel"), "approval.required"),
        (types.ElicitResult(action="accept"), "approval.required"),
        (types.ElicitResult(action="accept", content={}), "approval.required"),
        (types.ElicitResult(action="accept", content={"approve": True}), "approval.required"),
        (types.ElicitResult(action="accept", content={"approve": False}), "approval.required"),
        (types.ElicitResult(action="accept", content={"decision": "refuse"}), "approval.refused"),
    ],
    ids=["decline", "cancel", "accept", "empty form", "another field", "a denied field", "refuse"],
)
async def test_any_response_but_the_choice_to_approve_runs_nothing(
    harness: Harness, era: Era, answer: types.ElicitResult, expected: str
) -> None:
    async with harness.client(era, FakeApprover(answer)) as client:
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == expected
    assert harness.upstream.paid == []


async def test_a_client_that_fails_to_ask_approves_nothing(harness: Harness) -> None:
    broken = FakeApprover(types.ErrorData(code=-32603, message="accept"))
    async with harness.client("legacy", broken) as client:
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "approval.required"
    assert harness.upstream.paid == []


async def test_an_unanswered_dialog_leaves_a_waiting_approval(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machines_mcp.protocol.elicitation.ANSWER_SECONDS", 0.05)
    slow = FakeApprover()
    slow.during = anyio.Event().wait
    async with harness.client("legacy", slow) as client:
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "approval.required"
    assert harness.upstream.paid == []
    assert (await _only_approval(harness)).state == "waiting"


@both_eras
async def test_accepting_after_expiry_runs_nothing(harness: Harness, clock: Clock, era: Era) -> None:
    person = FakeApprover()

    async def dawdle() -> None:
        clock.advance(OPEN_SECONDS)

    person.during = dawdle
    async with harness.client(era, person) as client:
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "approval.expired"
    assert harness.upstream.paid == []


@both_eras
async def test_accepting_after_a_refusal_elsewhere_runs_nothing(harness: Harness, era: Era) -> None:
    person = FakeApprover()

    async def refuse() -> None:
        await harness.approvals.refuse((await _only_approval(harness)).id, "terminal")

    person.during = refuse
    async with harness.client(era, person) as client:
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "approval.refused"
    assert harness.upstream.paid == []


@both_eras
async def test_a_call_refused_before_the_question_asks_nobody(harness: Harness, era: Era) -> None:
    person = FakeApprover()

    async def refuse() -> None:
        raise ToolError(Code.KYC_NOT_APPROVED)

    harness.upstream.on_question = refuse
    async with harness.client(era, person) as client:
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "kyc.not_approved"
    assert person.asked == []
    assert await harness.approvals.waiting() == []


# Approval outside the dialog


@both_eras
async def test_an_approval_outside_the_dialog_is_used_once(harness: Harness, era: Era) -> None:
    async with harness.client(era) as client:
        approval = await _approval_id(client)
        again = {**ARGUMENTS, "approval_id": approval}
        assert code(await client.call_tool("pay", again)) == "approval.required"
        await harness.approvals.grant(approval, "terminal")
        first = body(await client.call_tool("pay", again))
        second = body(await client.call_tool("pay", again))
    assert first == second
    assert first["receipt"] == 1
    assert harness.upstream.paid == [("user-1", f"machines-{approval}", 500)]


@both_eras
async def test_an_equal_call_gets_the_waiting_approvals_id(harness: Harness, era: Era) -> None:
    async with harness.client(era) as client:
        first = await _approval_id(client)
        assert await _approval_id(client) == first
        assert await _approval_id(client, amount_cents=501) != first


@both_eras
async def test_a_refusal_is_final(harness: Harness, era: Era) -> None:
    async with harness.client(era) as client:
        approval = await _approval_id(client)
        await harness.approvals.refuse(approval, "terminal")
        await harness.approvals.grant(approval, "terminal")
        answers = [await client.call_tool("pay", {**ARGUMENTS, "approval_id": approval}) for _ in range(2)]
    assert [code(answer) for answer in answers] == ["approval.refused"] * 2
    assert harness.upstream.paid == []


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
async def test_a_granted_id_is_bound_to_its_arguments(harness: Harness, era: Era, changed: dict[str, Any]) -> None:
    async with harness.client(era) as client:
        approval = await _approval_id(client)
        await harness.approvals.grant(approval, "terminal")
        other = await client.call_tool("pay", {**ARGUMENTS, **changed, "approval_id": approval})
        assert code(other) == "approval.mismatch"
        assert harness.upstream.paid == []
        assert code(await client.call_tool("pay", {**ARGUMENTS, "approval_id": approval})) == "ok"


@both_eras
async def test_a_granted_id_is_bound_to_its_tool_and_an_invented_id_fails(harness: Harness, era: Era) -> None:
    async with harness.client(era) as client:
        approval = await _approval_id(client)
        await harness.approvals.grant(approval, "terminal")
        for tool, given in (("tip", approval), ("change", approval), ("pay", "0" * 32)):
            answer = await client.call_tool(tool, {**ARGUMENTS, "approval_id": given})
            assert code(answer) == "approval.mismatch"
    assert harness.upstream.paid == []


@both_eras
@pytest.mark.parametrize("given", [CANARY, "A" * 32, 7, True, ["0" * 32], {"id": "0" * 32}])
async def test_a_malformed_approval_id_is_refused_without_being_repeated(
    harness: Harness, era: Era, given: object
) -> None:
    async with harness.client(era, FakeApprover()) as client:
        answer = await client.call_tool("pay", {**ARGUMENTS, "approval_id": given})
    assert code(answer) == "input.invalid"
    assert [fault["field"] for fault in body(answer)["fields"]] == ["approval_id"]
    assert CANARY not in json.dumps(body(answer))
    assert harness.upstream.paid == []


async def test_a_tool_that_never_asks_has_no_approval_id_argument(harness: Harness) -> None:
    async with harness.client(MODERN) as client:
        answer = await client.call_tool("look", {"approval_id": "0" * 32})
    assert code(answer) == "input.invalid"


@both_eras
@pytest.mark.parametrize(("granted", "seconds"), [(False, OPEN_SECONDS), (True, GRANT_SECONDS)])
async def test_an_approval_not_given_or_used_in_time_is_requested_again(
    harness: Harness, clock: Clock, era: Era, granted: bool, seconds: float
) -> None:
    async with harness.client(era) as client:
        approval = await _approval_id(client)
        if granted:
            await harness.approvals.grant(approval, "terminal")
        clock.advance(seconds)
        assert code(await client.call_tool("pay", {**ARGUMENTS, "approval_id": approval})) == "approval.expired"
        assert await _approval_id(client) != approval
    assert harness.upstream.paid == []


@both_eras
async def test_fifty_concurrent_repeats_run_once(harness: Harness, era: Era) -> None:
    codes: list[str] = []
    async with harness.client(era) as client:
        approval = await _approval_id(client)
        await harness.approvals.grant(approval, "terminal")

        async def repeat() -> None:
            codes.append(code(await client.call_tool("pay", {**ARGUMENTS, "approval_id": approval})))

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(repeat)
        assert len(harness.upstream.paid) == 1
        assert len(codes) == 50
        assert set(codes) <= {"ok", "outcome.unknown"}
        assert codes.count("ok") >= 1
        last = await client.call_tool("pay", {**ARGUMENTS, "approval_id": approval})
    assert body(last)["receipt"] == 1


@both_eras
@pytest.mark.parametrize("change", ["mismatch", "expired", "refused"])
async def test_responses_about_approvals_repeat_arguments_only_in_next_steps(
    harness: Harness, clock: Clock, era: Era, change: str
) -> None:
    async with harness.client(era) as client:
        approval = await _approval_id(client, note=CANARY)
        if change == "expired":
            clock.advance(OPEN_SECONDS)
        if change == "refused":
            await harness.approvals.refuse(approval, "terminal")
        given = CANARY.upper() if change == "mismatch" else CANARY
        answer = await client.call_tool("pay", {**ARGUMENTS, "note": given, "approval_id": approval})
    assert code(answer) == f"approval.{change}"
    found = body(answer)
    assert CANARY.upper() not in json.dumps(found)
    assert [step["arguments"]["note"] for step in found.pop("next_steps")] == ([] if change == "refused" else [CANARY])
    assert CANARY not in json.dumps(found).lower()


# Sealed request state (2026-07-28)


class Rounds:
    """A client that sends arbitrary responses in place of the person's."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def first(self, tool: str = "pay", **changed: Any) -> types.InputRequiredResult:
        """Send the call and return the question."""
        found = await self.client.session.call_tool(tool, {**ARGUMENTS, **changed}, allow_input_required=True)
        assert isinstance(found, types.InputRequiredResult)
        assert found.input_requests is not None
        return found

    async def then(
        self, state: str | None, responses: Mapping[str, Any] | None, tool: str = "pay", **changed: Any
    ) -> types.CallToolResult | types.InputRequiredResult:
        """Send the response in raw JSON."""
        params: dict[str, Any] = {"name": tool, "arguments": {**ARGUMENTS, **changed}, "requestState": state}
        if responses is not None:
            params["inputResponses"] = responses
        request = types.CallToolRequest(params=types.CallToolRequestParams.model_validate(params, by_name=False))
        return await self.client.session.send_request(request, types.CallToolResult)


ACCEPT: Mapping[str, Any] = {"approve": {"action": "accept", "content": {"decision": "approve"}}}


async def test_a_sealed_acceptance_sent_three_times_runs_once_with_one_result(harness: Harness) -> None:
    async with harness.client(MODERN, FakeApprover()) as client:
        rounds = Rounds(client)
        asked = await rounds.first()
        answers = [body(await rounds.then(asked.request_state, ACCEPT)) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(harness.upstream.paid) == 1


async def test_fifty_concurrent_sealed_acceptances_run_once(harness: Harness) -> None:
    codes: list[str] = []
    async with harness.client(MODERN, FakeApprover()) as client:
        rounds = Rounds(client)
        asked = await rounds.first()

        async def repeat() -> None:
            codes.append(code(await rounds.then(asked.request_state, ACCEPT)))

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(repeat)
    assert len(harness.upstream.paid) == 1
    assert len(codes) == 50
    assert set(codes) <= {"ok", "outcome.unknown"}


async def test_a_sealed_refusal_cannot_be_changed_to_an_acceptance(harness: Harness) -> None:
    async with harness.client(MODERN, FakeApprover()) as client:
        rounds = Rounds(client)
        asked = await rounds.first()
        assert code(await rounds.then(asked.request_state, {"approve": {"action": "decline"}})) == "approval.refused"
        assert code(await rounds.then(asked.request_state, ACCEPT)) == "approval.refused"
    assert harness.upstream.paid == []


async def test_a_sealed_refusal_after_acceptance_changes_nothing(harness: Harness) -> None:
    async with harness.client(MODERN, FakeApprover()) as client:
        rounds = Rounds(client)
        asked = await rounds.first()
        first = body(await rounds.then(asked.request_state, ACCEPT))
        assert body(await rounds.then(asked.request_state, {"approve": {"action": "decline"}})) == first


@pytest.mark.parametrize(
    "responses",
    [
        None,
        {},
        {"other": {"action": "accept", "content": {"decision": "approve"}}},
        {"approve": {"action": "cancel"}},
        {"approve": {"roots": []}},
    ],
    ids=["none", "empty", "another question", "cancel", "another kind"],
)
async def test_a_state_without_an_accepted_question_runs_nothing(
    harness: Harness, responses: dict[str, Any] | None
) -> None:
    async with harness.client(MODERN, FakeApprover()) as client:
        rounds = Rounds(client)
        asked = await rounds.first()
        assert code(await rounds.then(asked.request_state, responses)) == "approval.required"
    assert harness.upstream.paid == []


async def test_a_sealed_acceptance_is_bound_to_its_arguments_tool_and_key(
    harness: Harness, store: Store, clock: Clock
) -> None:
    other = build_harness(store, clock, key=b"o" * 32)
    async with (
        harness.client(MODERN, FakeApprover()) as client,
        other.client(MODERN, FakeApprover()) as stranger,
    ):
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
    assert harness.upstream.paid == other.upstream.paid == []


async def test_servers_that_share_a_folder_accept_each_others_state(
    harness: Harness, store: Store, clock: Clock
) -> None:
    second_server = build_harness(store, clock)
    async with (
        harness.client(MODERN, FakeApprover()) as client,
        second_server.client(MODERN, FakeApprover()) as other,
    ):
        state = (await Rounds(client).first()).request_state
        assert code(await Rounds(other).then(state, ACCEPT)) == "ok"
        assert code(await Rounds(client).then(state, ACCEPT)) == "ok"
    assert len(harness.upstream.paid) + len(second_server.upstream.paid) == 1


@both_eras
async def test_a_bare_approval_id_is_not_a_sealed_state(harness: Harness, era: Era) -> None:
    async with harness.client(era) as client:
        approval = await _approval_id(client)
        with pytest.raises(MCPError) as refused:
            await Rounds(client).then(approval, ACCEPT)
    assert refused.value.error.code == types.INVALID_PARAMS
    assert harness.upstream.paid == []


# Policy


@both_eras
@pytest.mark.parametrize(("tool", "extra"), [("pay", {}), ("note", {}), ("change", {"harmless": True})])
async def test_a_denied_call_neither_asks_nor_runs(
    store: Store, clock: Clock, era: Era, tool: str, extra: dict[str, Any]
) -> None:
    harness = build_harness(store, clock, policy=default_policy("embedded", read_only=True))
    person = FakeApprover()
    async with harness.client(era, person) as client:
        answer = await client.call_tool(tool, {**ARGUMENTS, **extra})
        listed = {found.name for found in (await client.list_tools()).tools}
    assert code(answer) == "policy.denied"
    assert "MACHINES_READ_ONLY" in body(answer)["message"]
    assert body(answer)["retryable"] is False
    assert listed == {"look"}
    assert person.asked == []
    assert harness.upstream.asked == 0
    assert harness.upstream.paid == []


async def test_a_denied_class_cannot_be_approved(store: Store, clock: Clock, harness: Harness) -> None:
    async with harness.client(MODERN) as client:
        approval = await _approval_id(client)
    await harness.approvals.grant(approval, "terminal")
    strict = build_harness(store, clock, policy=Policy({ActionClass.READ: Rule.ALLOW}, "no"))
    async with strict.client(MODERN) as client:
        answer = await client.call_tool("pay", {**ARGUMENTS, "approval_id": approval})
    assert code(answer) == "policy.denied"
    assert strict.upstream.paid == []


@both_eras
async def test_the_class_of_a_call_follows_from_its_arguments(harness: Harness, era: Era) -> None:
    async with harness.client(era) as client:
        assert code(await client.call_tool("change", {**ARGUMENTS, "harmless": True})) == "ok"
        assert code(await client.call_tool("change", {**ARGUMENTS, "harmless": False})) == "approval.required"
    assert len(harness.upstream.paid) == 1


@both_eras
@pytest.mark.parametrize("declared", [change, look], ids=lambda tool: tool.name)
async def test_an_undeclared_class_is_refused(store: Store, clock: Clock, era: Era, declared: Tool) -> None:
    # The policy allows all classes, so only the tool's declaration refuses the call.
    free = Policy(dict.fromkeys(ActionClass, Rule.ALLOW), "")
    astray = replace(declared, action_class_of=lambda _: ActionClass.DESTROY)
    harness = build_harness(store, clock, policy=free, tools=[astray])
    arguments: Mapping[str, Any] = ARGUMENTS if declared is change else {}
    async with harness.client(era, FakeApprover()) as client:
        answer = await client.call_tool(astray.name, {**arguments})
    assert code(answer) == "internal"
    assert harness.upstream.paid == []


@both_eras
async def test_a_pinned_server_refuses_other_users(store: Store, clock: Clock, era: Era) -> None:
    harness = build_harness(store, clock, pinned_user="user-9")
    async with harness.client(era) as client:
        assert code(await client.call_tool("note", {"amount_cents": 5})) == "ok"
        for given in ("user-9", "user-1", None):
            answer = await client.call_tool("note", {"amount_cents": 5, "user_id": given})
            assert code(answer) == "input.invalid"
            assert body(answer)["fields"][0]["field"] == "user_id"
    assert [user for user, _, _ in harness.upstream.paid] == ["user-9"]


async def test_each_call_without_approval_has_its_own_idempotency_key(harness: Harness) -> None:
    async with harness.client(MODERN) as client:
        for _ in range(3):
            await client.call_tool("note", {**ARGUMENTS})
    assert len({key for _, key, _ in harness.upstream.paid}) == 3


@both_eras
async def test_progress_reaches_the_client(harness: Harness, era: Era) -> None:
    seen: list[tuple[float, float | None, str | None]] = []
    heard = anyio.Event()

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))
        heard.set()

    harness.upstream.after = heard.wait
    async with harness.client(era) as client:
        await client.call_tool("look", {}, progress_callback=listen)
    assert seen == [(0.5, 1.0, "half way")]


# Failures


async def _raise(error: BaseException) -> None:
    raise error


def _raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    return lambda: _raise(error)


@both_eras
async def test_an_unknown_tools_name_appears_in_no_response_or_log(
    harness: Harness, era: Era, caplog: pytest.LogCaptureFixture
) -> None:
    async with harness.client(era) as client:
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
async def test_an_exception_becomes_a_catalogue_error_without_its_text(
    harness: Harness, era: Era, error: BaseException, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    harness.upstream.before = _raising(error)
    async with harness.client(era) as client:
        answer = await client.call_tool("note", {**ARGUMENTS})
    assert code(answer) == expected
    assert CANARY not in json.dumps(body(answer)) + caplog.text
    assert harness.upstream.paid == []


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(CANARY), SystemExit(CANARY), BaseExceptionGroup(CANARY, [SystemExit(CANARY)])]
)
@pytest.mark.parametrize("tool", ["note", "pay"])
async def test_a_tool_cannot_end_the_server(
    harness: Harness, tool: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    # A library that leaks a CancelledError, or calls sys.exit, must fail its call only.
    caplog.set_level(logging.DEBUG)
    harness.upstream.before = _raising(error)
    async with harness.client("legacy", FakeApprover()) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool(tool, {**ARGUMENTS})
        assert refused.value.error.code == types.INTERNAL_ERROR
        assert code(await client.call_tool("look", {"deep": True})) == "input.invalid"
    assert CANARY not in refused.value.error.model_dump_json() + caplog.text


@both_eras
@pytest.mark.parametrize("final", [Code.PARTNER_REJECTED, Code.QUOTE_EXPIRED])
async def test_a_definite_failure_of_a_granted_call_is_stored_as_its_outcome(
    harness: Harness, era: Era, final: Code
) -> None:
    harness.upstream.before = _raising(ToolError(final))
    async with harness.client(era) as client:
        again = await _granted_call(client, harness)
        first = body(await client.call_tool("pay", again))
        harness.upstream.before = _raising(AssertionError("it ran again"))
        second = body(await client.call_tool("pay", again))
    assert first["code"] == final.value
    assert first == second


@both_eras
async def test_an_unknown_outcome_is_not_stored_and_names_the_next_call(harness: Harness, era: Era) -> None:
    harness.upstream.after = _raising(
        ToolError(Code.OUTCOME_UNKNOWN, next_steps=[NextStep("look", "See whether it happened.")])
    )
    async with harness.client(era) as client:
        approval = await _approval_id(client)
        await harness.approvals.grant(approval, "terminal")
        again = {**ARGUMENTS, "approval_id": approval}
        first = body(await client.call_tool("pay", again))
        kept = await harness.approvals.get(approval)
    assert (first["code"], first["approval_id"], first["retryable"]) == ("outcome.unknown", approval, True)
    assert [step["tool"] for step in first["next_steps"]] == ["pay", "look"]
    assert first["next_steps"][0]["arguments"] == again
    assert kept is not None
    assert (kept.state, kept.outcome) == ("executing", None)
    assert not harness.approvals.running(kept)


PASSING = [UpstreamError(CANARY), ToolError(Code.RATE_LIMITED, details={"retry_after_seconds": 3})]


@both_eras
@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
async def test_a_granted_call_that_sent_nothing_runs_on_repeat_with_the_same_key(
    harness: Harness, era: Era, error: Exception
) -> None:
    harness.upstream.before = _raising(error)
    async with harness.client(era) as client:
        approval = await _approval_id(client)
        await harness.approvals.grant(approval, "terminal")
        again = {**ARGUMENTS, "approval_id": approval}
        refused = [body(await client.call_tool("pay", again)) for _ in range(2)]
        harness.upstream.before = harness.upstream.after
        done = [body(await client.call_tool("pay", again)) for _ in range(2)]
    assert refused[0] == refused[1]
    assert refused[0]["retryable"] is True
    step = refused[0]["next_steps"][0]
    assert (step["tool"], step["arguments"]) == ("pay", again)
    assert done[0] == done[1]
    assert harness.upstream.paid == [("user-1", f"machines-{approval}", 500)]


@both_eras
async def test_an_approved_call_that_sent_nothing_repeats_without_a_dialog(harness: Harness, era: Era) -> None:
    harness.upstream.before = _raising(UpstreamError(CANARY))
    person = FakeApprover()
    async with harness.client(era, person) as client:
        refused = body(await client.call_tool("pay", {**ARGUMENTS}))
        harness.upstream.before = harness.upstream.after
        again = {**ARGUMENTS, "approval_id": refused["approval_id"]}
        assert code(await client.call_tool("pay", {**again, "amount_cents": 501})) == "approval.mismatch"
        assert code(await client.call_tool("pay", again)) == "ok"
    assert len(person.asked) == len(harness.upstream.paid) == 1


@both_eras
async def test_a_returned_grant_keeps_its_original_expiry(harness: Harness, clock: Clock, era: Era) -> None:
    harness.upstream.before = _raising(UpstreamError(CANARY))
    async with harness.client(era) as client:
        approval = await _approval_id(client)
        await harness.approvals.grant(approval, "terminal")
        again = {**ARGUMENTS, "approval_id": approval}
        clock.advance(GRANT_SECONDS - 1)
        assert code(await client.call_tool("pay", again)) == "partner.unavailable"
        clock.advance(1)
        assert code(await client.call_tool("pay", again)) == "approval.expired"
    assert harness.upstream.paid == []


@both_eras
async def test_a_grant_that_cannot_be_returned_is_used_up(
    harness: Harness, era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: Authorizer, approval: Approval) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(Authorizer, "return_grant", full)
    harness.upstream.before = _raising(UpstreamError(CANARY))
    async with harness.client(era) as client:
        again = await _granted_call(client, harness)
        refused = body(await client.call_tool("pay", again))
        assert (refused["code"], "approval_id" in refused) == ("partner.unavailable", False)
        assert code(await client.call_tool("pay", again)) == "outcome.unknown"


@both_eras
@pytest.mark.parametrize("error", [ValueError(CANARY), StoreUnavailable(CANARY)])
async def test_an_unexpected_failure_of_a_granted_call_is_outcome_unknown(
    harness: Harness, era: Era, error: Exception
) -> None:
    harness.upstream.after = _raising(error)
    async with harness.client(era) as client:
        again = await _granted_call(client, harness)
        codes = [code(await client.call_tool("pay", again)) for _ in range(3)]
    assert codes == ["outcome.unknown"] * 3
    assert len(harness.upstream.paid) == 1


@both_eras
async def test_a_granted_call_that_times_out_is_unknown_and_never_repeated(
    harness: Harness, era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "EXECUTION_SECONDS", 0.05)
    harness.upstream.after = anyio.Event().wait
    async with harness.client(era) as client:
        again = await _granted_call(client, harness)
        codes = [code(await client.call_tool("pay", again)) for _ in range(2)]
    assert codes == ["outcome.unknown"] * 2
    assert len(harness.upstream.paid) == 1


@both_eras
async def test_a_result_is_returned_even_if_it_cannot_be_stored(
    harness: Harness, era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: Authorizer, approval: Approval, outcome: str, *, ok: bool, code: str) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(Authorizer, "finish", full)
    async with harness.client(era) as client:
        again = await _granted_call(client, harness)
        assert body(await client.call_tool("pay", again))["receipt"] == 1
        assert code(await client.call_tool("pay", again)) == "outcome.unknown"
    assert len(harness.upstream.paid) == 1


@both_eras
async def test_a_call_that_needs_approval_fails_without_the_store(harness: Harness, store: Store, era: Era) -> None:
    async with harness.client(era, FakeApprover()) as client:
        await store.read(lambda db: db.execute("PRAGMA query_only = ON"))
        assert code(await client.call_tool("pay", {**ARGUMENTS})) == "state.unavailable"
    assert harness.upstream.paid == []


# Cancellation


async def test_a_cancelled_call_stops_at_once_without_logging_a_failure(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    begun, stopped = anyio.Event(), anyio.Event()

    async def wait() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    harness.upstream.before = wait
    async with harness.client("legacy") as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "note", {**ARGUMENTS})
            await begun.wait()
            tasks.cancel_scope.cancel()
        await stopped.wait()
        assert code(await client.call_tool("look", {"deep": True})) == "input.invalid"
    assert harness.upstream.paid == []
    assert caplog.text == ""


async def test_a_cancelled_granted_call_completes_and_keeps_its_outcome(harness: Harness) -> None:
    begun, go = anyio.Event(), anyio.Event()

    async def wait() -> None:
        begun.set()
        await go.wait()

    harness.upstream.before = wait
    async with harness.client("legacy") as client:
        again = await _granted_call(client, harness)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "pay", again)
            await begun.wait()
            tasks.cancel_scope.cancel()
        # The server has handled the cancellation once it responds to a later request.
        assert code(await client.call_tool("pay", again)) == "outcome.unknown"
        go.set()
        while (found := await client.call_tool("pay", again)).is_error:
            assert code(found) == "outcome.unknown"
    assert body(found)["receipt"] == 1
    assert len(harness.upstream.paid) == 1


async def test_a_call_cancelled_during_its_dialog_runs_nothing(harness: Harness) -> None:
    asked, person = anyio.Event(), FakeApprover()

    async def hang() -> None:
        asked.set()
        await anyio.sleep_forever()

    person.during = hang
    async with harness.client("legacy", person) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "pay", {**ARGUMENTS})
            await asked.wait()
            tasks.cancel_scope.cancel()
        assert (await _only_approval(harness)).state == "waiting"
    assert harness.upstream.paid == []

"""The most important faults with a server over stdio, judged by the simulator's state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.faults.running_server import RunningServer, running_server
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

LIMIT = {"limit_amount_cents": 1000, "limit_frequency": "per30DayPeriod"}


@pytest.fixture(scope="module")
async def server(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """Return the module's server. Each test has its own user."""
    async with running_server(tmp_path_factory.mktemp("server")) as found:
        yield found


def next_call(arguments: dict[str, Any], refusal: dict[str, Any]) -> dict[str, Any]:
    """Return the call that the error suggests: its first step, with the arguments of the call."""
    return arguments | refusal["next_steps"][0]["arguments"]


def is_actionable(refusal: dict[str, Any], tool: str) -> bool:
    """Whether a model can act on it: what is unknown, that a repetition is safe, and when."""
    step = refusal["next_steps"][0]
    return (
        refusal["code"] == "outcome.unknown"
        and refusal["retryable"] is True
        and refusal["retry_after_seconds"] > 0
        and step["tool"] == tool
        and step["arguments"]["approval_id"] == refusal["approval_id"]
        and "not known" in refusal["message"]
        and "approval_id" in refusal["message"]
    )


MADE = {"the answer is lost": "after", "half the answer": "half_body", "wrong types": "wrong_types"}


@pytest.mark.parametrize("kind", MADE.values(), ids=MADE)
async def test_card_created_without_a_response_is_found(server: RunningServer, kind: str) -> None:
    user_id = await server.new_user()
    arguments = {"user_id": user_id, "label": "unseen", **LIMIT}
    await server.break_next(kind, "POST", "/cards")
    refusal = await server.call("create_card", **arguments)
    assert is_actionable(refusal, "create_card")
    made = await server.call("create_card", **next_call(arguments, refusal))
    (held,) = await server.upstream_state(user_id)
    assert "card_id" in made, made
    assert made["card_id"] == held["cardId"]
    assert await server.call("create_card", **next_call(arguments, refusal)) == made
    assert len(await server.upstream_state(user_id)) == 1


NOT_MADE: dict[str, dict[str, Any]] = {
    "no answer": {"kind": "drop"},
    "HTML with 200": {"kind": "html"},
    "500": {"kind": "status", "status": 500},
    "503": {"kind": "status", "status": 503},
}


@pytest.mark.check
@pytest.mark.parametrize("fault", NOT_MADE.values(), ids=NOT_MADE)
async def test_card_not_created_is_created_once_when_certain(server: RunningServer, fault: dict[str, Any]) -> None:
    user_id = await server.new_user()
    arguments = {"user_id": user_id, "label": "not made", **LIMIT}
    await server.break_next(method="POST", path="/cards", **fault)
    refusal = await server.call("create_card", **arguments)
    assert is_actionable(refusal, "create_card")
    assert await server.upstream_state(user_id) == []

    async def repeat() -> dict[str, Any] | None:
        answer = await server.call("create_card", **next_call(arguments, refusal))
        return answer if "card_id" in answer else None

    answer = await eventually_async(repeat)
    assert answer is not None
    (held,) = await server.upstream_state(user_id)
    assert answer["card_id"] == held["cardId"]


@pytest.mark.parametrize("status", [400, 404, 409, 418])
async def test_rejection_is_returned_and_nothing_is_created(server: RunningServer, status: int) -> None:
    user_id = await server.new_user()
    await server.break_next("status", "POST", "/cards", status=status)
    refusal = await server.call("create_card", user_id=user_id, **LIMIT)
    assert refusal["code"] != "outcome.unknown"
    assert await server.upstream_state(user_id) == []


RETRY_AFTER = {"none": {}, "soon": {"retryAfter": 0}}


@pytest.mark.parametrize("more", RETRY_AFTER.values(), ids=RETRY_AFTER)
async def test_busy_upstream_is_retried_and_creates_one_card(server: RunningServer, more: dict[str, Any]) -> None:
    user_id = await server.new_user()
    await server.break_next("status", "POST", "/cards", status=429, calls=2, **more)
    made = await server.call("create_card", user_id=user_id, **LIMIT)
    assert [card["cardId"] for card in await server.upstream_state(user_id)] == [made["card_id"]]


async def test_long_busy_upstream_is_reported_immediately_with_its_time(server: RunningServer) -> None:
    user_id = await server.new_user()
    await server.break_next("status", "POST", "/cards", status=429, retryAfter=86_400)
    arguments = {"user_id": user_id, **LIMIT}
    refusal = await server.call("create_card", **arguments)
    assert (refusal["code"], refusal["retry_after_seconds"]) == ("rate.limited", 86_400)
    made = await server.call("create_card", **next_call(arguments, refusal))
    assert [card["cardId"] for card in await server.upstream_state(user_id)] == [made["card_id"]]


READS: dict[str, tuple[dict[str, Any], str | None]] = {
    "no answer, once": ({"kind": "drop"}, None),
    "half an answer, once": ({"kind": "half_body"}, None),
    "503, once": ({"kind": "status", "status": 503}, None),
    "401, once": ({"kind": "status", "status": 401}, None),
    "401 for good": ({"kind": "status", "status": 401, "calls": 2}, "auth.rejected"),
    "500": ({"kind": "status", "status": 500}, "partner.unavailable"),
    "HTML with 200": ({"kind": "html"}, "partner.malformed"),
    "wrong types": ({"kind": "wrong_types"}, "partner.malformed"),
}


@pytest.mark.parametrize(("fault", "code"), READS.values(), ids=READS)
async def test_read_survives_transient_faults_and_names_others(
    server: RunningServer, fault: dict[str, Any], code: str | None
) -> None:
    user_id = await server.new_user()
    await server.break_next(method="GET", path="/cards", **fault)
    answer = await server.call("list_cards", user_id=user_id)
    assert answer.get("code") == code
    assert ("cards" in answer) is (code is None)


async def test_fifty_calls_with_expired_tokens_lose_and_double_nothing(server: RunningServer) -> None:
    user_id = await server.new_user()
    await server.call("create_session", user_id=user_id, purpose="cards")
    await server.control("/clock", advanceSeconds=3600)
    wanted: list[tuple[str, dict[str, Any]]] = [("list_cards", {"user_id": user_id})] * 45
    wanted += [("create_card", {"user_id": user_id, "label": f"one of five, {n}", **LIMIT}) for n in range(5)]
    answers = await server.calls(wanted)
    assert [answer for answer in answers if "code" in answer] == []
    made = {answer["card_id"] for answer in answers[45:]}
    assert len(made) == 5
    assert {card["cardId"] for card in await server.upstream_state(user_id)} == made


UNKEYED: dict[str, tuple[str, str, str, dict[str, Any], str]] = {
    "close": ("close_card", "DELETE", "/cards/{cardId}", {}, "canceled"),
    "lock": ("update_card", "PATCH", "/cards/{cardId}", {"status": "locked"}, "locked"),
}


@pytest.mark.parametrize(("tool", "method", "path", "more", "becomes"), UNKEYED.values(), ids=UNKEYED)
async def test_mutation_without_a_key_is_sent_once_and_read_back(
    server: RunningServer, tool: str, method: str, path: str, more: dict[str, Any], becomes: str
) -> None:
    user_id = await server.new_user()
    card = await server.call("create_card", user_id=user_id, **LIMIT)
    await server.break_next("after", method, path)
    arguments = {"user_id": user_id, "card_id": card["card_id"], **more}
    refusal = await server.call(tool, **arguments)
    assert refusal["code"] == "outcome.unknown"
    (held,) = await server.upstream_state(user_id)
    assert held["status"] == becomes
    answer = await server.call(tool, **next_call(arguments, refusal))
    assert "code" not in answer
    assert (await server.upstream_state(user_id))[0]["status"] == becomes


async def test_server_still_responds_after_every_fault(server: RunningServer) -> None:
    assert (await server.call("status"))["simulated"] is True
    assert "Traceback" not in server.served.said_on_stderr()

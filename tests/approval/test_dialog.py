"""Approvals in the client's dialog. Each test counts the created cards, not only the responses."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from machines_mcp.protocol.elicitation import ANSWER_SECONDS
from tests.approval.conftest import CARD, MODERN, USABLE, Worlds, everywhere
from tests.approval.wire import (
    ACCEPT,
    CANCEL,
    DECLINE,
    ERAS,
    REFUSE,
    Era,
    ErrorResponse,
    Question,
    body,
    code,
    connected,
)
from tests.approval.world import Installation, Name
from tests.support.stdio_client import applicant
from tests.support.waiting import PATIENCE, SHORTER_THAN_A_WAIT

pytestmark = pytest.mark.anyio


async def asked(world: Installation, era: Era) -> tuple[str, Question]:
    """Create a user and return the question that a card request puts to the person."""
    user_id = await world.user()
    return user_id, await (await world.server(era)).question("create_card", CARD | {"user_id": user_id})


@everywhere
async def test_accepting_creates_one_card(worlds: Worlds, era: Era, name: Name) -> None:
    world = await worlds.named(name)
    user_id, question = await asked(world, era)
    assert await world.cards(user_id) == 0
    assert code(await question.answer(ACCEPT)) == "ok"
    assert await world.cards(user_id) == 1


@everywhere
@pytest.mark.parametrize(
    ("answer", "said"),
    [(DECLINE, "approval.refused"), (REFUSE, "approval.refused"), (CANCEL, "approval.required")],
    ids=["decline", "refuse", "cancel"],
)
async def test_declining_or_cancelling_creates_no_card(
    worlds: Worlds, era: Era, name: Name, answer: dict[str, Any], said: str
) -> None:
    world = await worlds.named(name)
    user_id, question = await asked(world, era)
    assert code(await question.answer(answer)) == said
    if answer is not CANCEL and era == MODERN:
        assert code(await question.answer(ACCEPT)) == "approval.refused"
    assert await world.cards(user_id) == 0


MALFORMED: list[Any] = [
    {},
    {"action": "yes"},
    {"action": "ACCEPT"},
    {"action": " accept"},
    {"action": True},
    {"action": ["accept"]},
    {"content": {"approve": True}},
    {"content": {}, "result": {"action": "accept"}},
    {"action": "accept", "content": "yes"},
    {"action": "accept", "content": {"approve": {"action": "accept"}}},
    {"action": "accept"},
    {"action": "accept", "content": {}},
    {"action": "accept", "content": {"approve": True}},
    {"action": "accept", "content": {"approve": False}},
    {"action": "accept", "content": {"decision": "yes"}},
]
NO_OBJECT: list[Any] = ["accept", True, 1, None, [], ["accept"], [ACCEPT]]
"""In 2025-11-25 such a line is not JSON-RPC, so the question stays open until it times out."""


@everywhere
async def test_a_malformed_answer_creates_no_card(worlds: Worlds, era: Era, name: Name) -> None:
    world = await worlds.named(name)
    for answer in [*MALFORMED, ErrorResponse()] if era != MODERN else MALFORMED + NO_OBJECT:
        user_id, question = await asked(world, era)
        assert code(await question.answer(answer)) not in ("ok", "approval.refused"), answer
        assert await world.cards(user_id) == 0, answer


@everywhere
async def test_a_client_without_a_dialog_cannot_approve_by_itself(worlds: Worlds, era: Era, name: Name) -> None:
    world = await worlds.named(name)
    server, user_id = await world.server(era, dialog=False), await world.user()
    given = CARD | {"user_id": user_id}
    required = body(await server.call("create_card", given))
    assert required["code"] == "approval.required"
    # The client sends an acceptance anyway, under every key it could guess.
    for more in (
        {"inputResponses": {"approve": ACCEPT}},
        {"inputResponses": {"approve": ACCEPT}, "requestState": required["approval_id"]},
        {"inputResponses": {required["approval_id"]: ACCEPT}},
    ):
        assert code(await server.call("create_card", given, **more)) != "ok"
        assert code(await server.call("create_card", given | {"approval_id": required["approval_id"]}, **more)) != "ok"
    assert server.asked.empty()
    assert await world.cards(user_id) == 0


@everywhere
async def test_accepting_after_expiry_creates_no_card(worlds: Worlds, era: Era, name: Name) -> None:
    world = await worlds.named(name)
    user_id, question = await asked(world, era)
    world.change("UPDATE approvals SET expires_at = expires_at - 900 WHERE user_id = ?", user_id)
    assert code(await question.answer(ACCEPT)) == "approval.expired"
    assert await world.cards(user_id) == 0


@everywhere
async def test_accepting_after_the_call_was_cancelled_creates_no_card(worlds: Worlds, era: Era, name: Name) -> None:
    world = await worlds.named(name)
    user_id, question = await asked(world, era)
    if era == MODERN:
        # In 2026-07-28 the question is the response, so there is no open call to cancel.
        assert question.call.done()
    else:
        number = question.server.number_of(question.call)
        await question.server.send({"method": "notifications/cancelled", "params": {"requestId": number}})
        await question.server.call("status", {})
        await question.begin(ACCEPT)
        await question.server.call("status", {})
    assert await world.cards(user_id) == 0


@everywhere
async def test_repeating_an_acceptance_creates_one_card(worlds: Worlds, era: Era, name: Name) -> None:
    world = await worlds.named(name)
    user_id, question = await asked(world, era)
    before = world.sent("POST", "/cards")
    first = await question.answer(ACCEPT)
    assert code(first) == "ok"
    for _ in range(3):
        if era == MODERN:
            assert body(await question.answer(ACCEPT)) == body(first)
        else:
            await question.begin(ACCEPT)
            await question.server.call("status", {})
    assert await world.cards(user_id) == 1
    assert world.sent("POST", "/cards") == before + 1


@everywhere
async def test_fifty_concurrent_acceptances_create_one_card(worlds: Worlds, era: Era, name: Name) -> None:
    world = await worlds.named(name)
    user_id = await world.user()
    given, server = CARD | {"user_id": user_id}, await world.server(era)
    questions, before = await server.questions("create_card", given, 50), world.sent("POST", "/cards")
    calls = [await question.begin(ACCEPT) for question in questions]
    with anyio.fail_after(PATIENCE):
        answers = [await call for call in calls]
    assert (await world.cards(user_id), world.sent("POST", "/cards")) == (1, before + 1)
    assert {code(answer) for answer in answers} <= {"ok", "outcome.unknown"}
    made = {body(answer)["card_id"] for answer in answers if code(answer) == "ok"}
    assert len(made) == 1


@pytest.mark.parametrize("name", USABLE)
@pytest.mark.parametrize(
    "changed",
    [
        {"limit_amount_cents": 5001},
        {"limit_frequency": "allTime"},
        {"label": "mine"},
        {"limit_amount_cents": None, "limit_frequency": None},
    ],
    ids=str,
)
async def test_an_acceptance_is_bound_to_its_arguments(worlds: Worlds, name: Name, changed: dict[str, Any]) -> None:
    world = await worlds.named(name)
    user_id, question = await asked(world, MODERN)
    question.arguments = {k: v for k, v in (dict(question.arguments) | changed).items() if v is not None}
    assert code(await question.answer(ACCEPT)) != "ok"
    assert await world.cards(user_id) == 0


@pytest.mark.parametrize("name", USABLE)
async def test_an_acceptance_is_bound_to_its_user_tool_and_server(worlds: Worlds, name: Name) -> None:
    world, foreign = await worlds.named(name), await worlds.named("sandbox" if name == "embedded" else "embedded")
    (user_id, question), other = await asked(world, MODERN), await world.user()
    for tool, changed in (("create_card", other), ("update_card", user_id)):
        server, more = question.server, {"requestState": question.state, "inputResponses": {"approve": ACCEPT}}
        assert code(await server.call(tool, CARD | {"user_id": changed}, **more)) != "ok"
    await foreign.resolved(user_id)
    question.server = await foreign.server(MODERN)
    assert code(await question.answer(ACCEPT)) != "ok"
    assert (await world.cards(user_id), await world.cards(other), await foreign.cards(user_id)) == (0, 0, 0)


@pytest.mark.parametrize("name", USABLE)
async def test_a_forged_request_state_creates_no_card(worlds: Worlds, name: Name) -> None:
    world = await worlds.named(name)
    user_id, question = await asked(world, MODERN)
    sealed = question.state
    waiting = (await world.waiting(user_id))[0]
    half = len(sealed) // 2
    swapped = sealed[:half] + ("A" if sealed[half] != "A" else "B") + sealed[half + 1 :]
    for forged in (waiting, "", "accept", sealed[:-4], swapped, sealed + sealed, json.dumps({"id": waiting})):
        question.state = forged
        assert code(await question.answer(ACCEPT)) != "ok", forged
    assert await world.cards(user_id) == 0


@pytest.mark.parametrize("era", ERAS)
async def test_without_a_passphrase_no_dialog_is_shown(worlds: Worlds, era: Era) -> None:
    world = await worlds.named("unset")
    server, user_id = await world.server(era), await world.user()
    given = CARD | {"user_id": user_id}
    required = body(await server.call("create_card", given))
    assert required["code"] == "approval.required"
    assert "set a passphrase" in required["where"]
    assert "desk" not in required
    assert server.asked.empty()
    assert await world.cards(user_id) == 0


async def test_an_acceptance_fails_if_the_passphrase_was_removed(worlds: Worlds) -> None:
    world = await worlds.named("sandbox")
    user_id, question = await asked(world, MODERN)
    verifier = world.database.parent / "keys" / "passphrase.json"
    kept = verifier.rename(verifier.with_suffix(".kept"))
    try:
        assert code(await question.answer(ACCEPT)) == "approval.required"
        assert await world.cards(user_id) == 0
        verifier.write_text("{}", encoding="ascii")
        assert code(await question.answer(ACCEPT)) == "state.unavailable"
        assert await world.cards(user_id) == 0
    finally:
        kept.replace(verifier)
    assert code(await question.answer(ACCEPT)) == "ok"
    assert await world.cards(user_id) == 1


@everywhere
async def test_the_dialog_shows_masked_identity_data_and_the_state_keeps_none(
    worlds: Worlds, era: Era, name: Name
) -> None:
    world = await worlds.named(name)
    server, user_id, data = await world.server(era), await world.new_user(), applicant()
    question = await server.question("submit_kyc", data | {"user_id": user_id})
    for row in (
        f"Name: “{data['first_name']} {data['last_name']}” (from the agent)",
        f"Born in: {data['birth_date'][:4]}",
        f"Country: “{data['country_of_issue']}” (from the agent)",
        f"National ID: ending {data['national_id'][-3:]}",
        "E-mail: “at example.com” (from the agent)",
    ):
        assert f"{row}\n" in question.text
    for value in (data["national_id"], data["birth_date"], data["email"], data["address_line1"]):
        assert value not in question.text
    approval_id = body(await (await world.server(era, dialog=False)).call("submit_kyc", data | {"user_id": user_id}))[
        "approval_id"
    ]
    assert world.sealed(approval_id) is not None
    assert data["last_name"].encode() not in b"".join(
        path.read_bytes() for path in world.database.parent.glob("state.db*")
    )
    assert code(await question.answer(DECLINE)) == "approval.refused"
    assert world.sealed(approval_id) is None


HASTY = """
import sys
from machines_mcp.protocol import elicitation
elicitation.ANSWER_SECONDS = 0.5
from machines_mcp.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("name", USABLE)
async def test_an_unanswered_question_times_out_after_fifty_seconds(worlds: Worlds, name: Name) -> None:
    assert ANSWER_SECONDS == 50
    world = await worlds.named(name)
    user_id = await world.user()
    async with connected(world.env, "2025-11-25", dialog=True, program=("-c", HASTY)) as server:
        question = await server.question("create_card", CARD | {"user_id": user_id})
        with anyio.fail_after(SHORTER_THAN_A_WAIT):
            assert code(await question.call) == "approval.required"
        await question.begin(ACCEPT)
        await server.call("status", {})
        assert await world.cards(user_id) == 0

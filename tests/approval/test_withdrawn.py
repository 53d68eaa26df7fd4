"""Requests that are withdrawn over stdio: what waits for them ends, and no later answer creates a card."""

from __future__ import annotations

import anyio
import pytest

from tests.approval.conftest import CARD, MODERN, Worlds, everywhere
from tests.approval.wire import ACCEPT, Era, body, code
from tests.approval.world import Name
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.anyio


@everywhere
async def test_a_wait_ends_with_the_withdrawal_and_other_servers_cannot_withdraw(
    worlds: Worlds, era: Era, name: Name
) -> None:
    world = await worlds.named(name)
    server, other = await world.server(era, dialog=False), await world.server(era)
    user_id = await world.user()
    given = CARD | {"user_id": user_id}
    approval_id = body(await server.call("create_card", given))["approval_id"]
    wait = await server.begin("create_card", given | {"approval_id": approval_id, "wait_seconds": 50})
    assert code(await other.call("cancel_approval", {"approval_id": approval_id})) == "not_found"
    withdrawn = body(await server.call("cancel_approval", {"approval_id": approval_id}))
    assert (withdrawn["status"], withdrawn["tool"]) == ("withdrawn", "create_card")
    with anyio.fail_after(PATIENCE):
        assert code(await wait) == "approval.withdrawn"
    assert code(await other.call("create_card", given | {"approval_id": approval_id})) == "approval.withdrawn"
    asked_anew = body(await server.call("create_card", given))
    assert (asked_anew["code"], asked_anew["approval_id"] == approval_id) == ("approval.required", False)
    assert await world.cards(user_id) == 0


@everywhere
async def test_a_dialog_is_closed_and_its_late_acceptance_creates_no_card(worlds: Worlds, era: Era, name: Name) -> None:
    world = await worlds.named(name)
    server, user_id = await world.server(era), await world.user()
    question = await server.question("create_card", CARD | {"user_id": user_id})
    (approval_id,) = await world.waiting(user_id)
    assert body(await server.call("cancel_approval", {"approval_id": approval_id}))["status"] == "withdrawn"
    if era != MODERN:
        # In 2026-07-28 the question is the response, so the client learns it by its answer.
        with anyio.fail_after(PATIENCE):
            assert code(await question.call) == "approval.withdrawn"
        await eventually(lambda: question.number in server.cancelled)
    assert code(await question.answer(ACCEPT)) == "approval.withdrawn"
    assert await world.cards(user_id) == 0

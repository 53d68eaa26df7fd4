"""The upstream changes of each class of call: none before acceptance, the expected ones after it.

Each test compares everything that the simulator's control interface shows of the user, so it also detects unexpected
changes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from machines_mcp.partner import CardLimit
from tests.approval.conftest import Worlds, everywhere
from tests.approval.wire import ACCEPT, CANCEL, DECLINE, Era, code
from tests.approval.world import TERMS, WALLET, Installation, Name
from tests.support.stdio_client import applicant

pytestmark = pytest.mark.anyio

Arguments = dict[str, Any]


async def _card(world: Installation, user_id: str) -> str:
    limit = CardLimit(amount_cents=5000, frequency="per24HourPeriod")
    return (await world.client.cards.create(user_id, limit=limit, idempotency_key=f"test-{user_id}")).card_id


async def submit_kyc(world: Installation) -> tuple[str, Arguments]:
    return await world.new_user(), applicant()


async def resolve_user(world: Installation) -> tuple[str, Arguments]:
    return await world.new_user(), {"wallet_address": WALLET}


async def accept_agreements(world: Installation) -> tuple[str, Arguments]:
    return await world.new_user(approved=True), {}


async def create_card(world: Installation) -> tuple[str, Arguments]:
    return await world.user(), {"label": "Groceries", "limit_amount_cents": 5000, "limit_frequency": "per24HourPeriod"}


async def update_card(world: Installation) -> tuple[str, Arguments]:
    user_id = await world.user()
    card_id = await _card(world, user_id)
    await world.client.cards.update(user_id, card_id, status="locked")
    return user_id, {"card_id": card_id, "status": "active"}


async def close_card(world: Installation) -> tuple[str, Arguments]:
    user_id = await world.user()
    return user_id, {"card_id": await _card(world, user_id)}


async def create_withdrawal(world: Installation) -> tuple[str, Arguments]:
    user_id = await world.user(funded=True)
    server = await world.server("2026-07-28")
    quote = await server.call("quote_withdrawal", TERMS | {"user_id": user_id})
    return user_id, {"quote_id": quote["result"]["structuredContent"]["quote_id"]}


Prepare = Callable[[Installation], Awaitable[tuple[str, Arguments]]]
CHANGES: dict[str, tuple[Prepare, str]] = {
    "submit_kyc": (submit_kyc, "kycStatus"),
    "resolve_user": (resolve_user, "wallet"),
    "accept_agreements": (accept_agreements, "agreementsAccepted"),
    "create_card": (create_card, "cards"),
    "update_card": (update_card, "cards"),
    "close_card": (close_card, "cards"),
    "create_withdrawal": (create_withdrawal, "withdrawals"),
}


@everywhere
@pytest.mark.parametrize("tool", CHANGES)
async def test_only_an_acceptance_changes_upstream_state(worlds: Worlds, era: Era, name: Name, tool: str) -> None:
    world, server = await worlds.named(name), await (await worlds.named(name)).server(era)
    prepare, changed = CHANGES[tool]
    user_id, given = await prepare(world)
    given |= {"user_id": user_id}
    before = await world.upstream_state(user_id)
    for no, said in ((DECLINE, "approval.refused"), (CANCEL, "approval.required")):
        question = await server.question(tool, given)
        assert await world.upstream_state(user_id) == before
        assert code(await question.answer(no)) == said
        assert await world.upstream_state(user_id) == before
    question = await server.question(tool, given)
    assert code(await question.answer(ACCEPT)) == "ok"
    after = await world.upstream_state(user_id)
    assert {key for key in after if after[key] != before[key]} >= {changed}
    mute = await world.server(era, dialog=False)
    user_id, given = await prepare(world)
    given |= {"user_id": user_id}
    before = await world.upstream_state(user_id)
    assert code(await mute.call(tool, given)) == "approval.required"
    assert await world.upstream_state(user_id) == before

from __future__ import annotations

from typing import Any

import mcp_types as types
import pytest
from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.tool import Output, OutputPart, ToolContext, UserInput, tool
from machines_mcp.storage.database import Store
from tests.support.clock import Clock
from tests.support.fake_tools import ERAS, MODERN, TOOLS, Era, FakeUpstream, Harness, build_harness

pytestmark = pytest.mark.anyio

PROMPT = types.PromptReference(type="ref/prompt", name="onboard_user")


class Page(UserInput):
    limit: int = Field(default=20, ge=1, le=100)


class CardOf(OutputPart):
    card_id: str


class Cards(Output):
    cards: list[CardOf]


class Network(OutputPart):
    id: str


class Asset(OutputPart):
    currency: str
    networks: list[Network]


class Assets(Output):
    assets: list[Asset]


@tool(title="Cards", toolset="cards", action_class=ActionClass.READ, idempotent=True)
async def list_cards(call: ToolContext[FakeUpstream], args: Page) -> Cards:
    """List cards."""
    await call.services.before()
    return Cards(cards=[CardOf(card_id=f"{call.user_id}-card{n:03}") for n in range(150)])


@tool(title="Assets", toolset="funding", action_class=ActionClass.READ, idempotent=True)
async def list_deposit_assets(call: ToolContext[FakeUpstream], args: Page) -> Assets:
    """List assets."""
    return Assets(
        assets=[
            Asset(currency="USDC", networks=[Network(id="base"), Network(id="polygon")]),
            Asset(currency="USDT", networks=[Network(id="tron"), Network(id="base")]),
        ]
    )


def _harness(store: Store, clock: Clock, pinned: str | None = None) -> Harness:
    return build_harness(store, clock, tools=(*TOOLS, list_cards, list_deposit_assets), pinned_user=pinned)


@pytest.fixture
def harness(store: Store, clock: Clock) -> Harness:
    return _harness(store, clock)


async def _complete(harness: Harness, name: str, typed: str = "", era: Era = MODERN, **given: str) -> types.Completion:
    async with harness.client(era) as client:
        found = await client.complete(PROMPT, {"name": name, "value": typed}, context_arguments=given or None)
    return found.completion


async def _call_for_users(harness: Harness, *users: str) -> None:
    async with harness.client(MODERN) as client:
        for user in users:
            await client.call_tool("note", {"user_id": user, "amount_cents": 1})


@pytest.mark.parametrize("era", ERAS)
async def test_users_of_successful_calls_are_suggested(harness: Harness, era: Era) -> None:
    await _call_for_users(harness, "anna", "bob", "Ann")
    async with harness.client(MODERN) as client:
        await client.call_tool("note", {"user_id": "andrea", "amount_cents": 0})
    assert (await _complete(harness, "user_id", era=era)).values == ["anna", "bob", "Ann"]
    assert (await _complete(harness, "user_id", "an", era=era)).values == ["anna", "Ann"]


async def test_the_oldest_users_are_dropped_beyond_the_limit(harness: Harness) -> None:
    await _call_for_users(harness, *(f"user-{number}" for number in range(60)))
    values = (await _complete(harness, "user_id")).values
    assert values == [f"user-{number}" for number in range(10, 60)]


async def test_a_pinned_server_suggests_only_its_user(store: Store, clock: Clock) -> None:
    harness = _harness(store, clock, "user-9")
    assert (await _complete(harness, "user_id")).values == ["user-9"]
    assert (await _complete(harness, "card_id", "USER-9-card00", user_id="other")).values[0] == "user-9-card000"


async def test_cards_are_those_of_the_given_user_or_the_first_user(harness: Harness) -> None:
    assert (await _complete(harness, "card_id")).values == []
    await _call_for_users(harness, "anna", "bob")
    assert (await _complete(harness, "card_id", "anna-card14")).values[0] == "anna-card140"
    found = await _complete(harness, "card_id", user_id="bob")
    assert len(found.values) == 100
    assert (found.total, found.has_more) == (150, True)
    assert found.values[0] == "bob-card000"


async def test_networks_depend_on_the_currency(harness: Harness) -> None:
    await _call_for_users(harness, "u")
    assert (await _complete(harness, "currency", "usd", user_id="u")).values == ["USDC", "USDT"]
    assert (await _complete(harness, "network", user_id="u", currency="usdt")).values == ["tron", "base"]
    assert (await _complete(harness, "network", user_id="u")).values == ["base", "polygon", "tron"]


async def test_limits_are_fixed_and_unknown_names_have_no_values(harness: Harness) -> None:
    assert (await _complete(harness, "limit", "50")).values == ["50 dollars a month"]
    assert (await _complete(harness, "surprise", user_id="u")).values == []


async def test_a_failed_lookup_yields_no_values(harness: Harness) -> None:
    async def refuse() -> Any:
        raise ToolError(Code.KYC_NOT_APPROVED)

    await _call_for_users(harness, "u")
    harness.upstream.before = refuse
    assert (await _complete(harness, "card_id", user_id="u")).values == []
    assert (await _complete(harness, "card_id", user_id=" not plain ")).values == []

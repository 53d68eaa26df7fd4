"""Pytest tests of your own agent: `pytest examples/test_my_agent.py`. Each test has its own simulator."""

import json
from typing import Any

import anyio
import pytest
from mcp import Client

from machines_mcp.testing import ReadyUser

pytest_plugins = ["machines_mcp.testing.pytest"]  # or in your conftest.py
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def buys_within(client: Client, cents: int) -> dict[str, Any]:
    """The agent under test: it makes sure the user has a card for a month's shopping."""
    for card in ((await client.call_tool("list_cards", {})).structured_content or {})["cards"]:
        if card["status"] == "active" and card["limit_amount_cents"] == cents:
            return dict(card)
    wish: dict[str, Any] = {"limit_amount_cents": cents, "limit_frequency": "per30DayPeriod"}
    answer = await client.call_tool("create_card", wish)
    while answer.is_error:
        refusal = json.loads(getattr(answer.content[0], "text", "{}"))
        if refusal["code"] != "outcome.unknown":
            raise PermissionError(refusal["code"])
        await anyio.sleep(refusal["retry_after_seconds"])
        # This returns the outcome of the first call and never repeats it.
        answer = await client.call_tool("create_card", wish | {"approval_id": refusal["approval_id"]})
    return dict(answer.structured_content or {})


async def test_it_makes_one_card_that_pays_up_to_its_limit(machines_user: ReadyUser) -> None:
    card = await buys_within(machines_user.client, 20_00)
    assert (await buys_within(machines_user.client, 20_00))["card_id"] == card["card_id"]
    assert len((await machines_user.call("list_cards"))["cards"]) == 1
    assert (await machines_user.simulator.spend(card["card_id"], 15_00, "Corner Shop")).approved
    assert (await machines_user.simulator.spend(card["card_id"], 15_00)).reason == "card_limit"


@pytest.mark.parametrize("machines_options", [{"answer": "decline"}])
async def test_it_makes_none_when_the_person_says_no(machines_user: ReadyUser) -> None:
    with pytest.raises(PermissionError, match=r"approval\.refused"):
        await buys_within(machines_user.client, 20_00)
    assert (await machines_user.call("list_cards"))["cards"] == []


async def test_it_makes_one_card_although_the_answer_is_lost(machines_user: ReadyUser) -> None:
    await machines_user.simulator.fault("/cards", "after", method="POST")
    assert (await buys_within(machines_user.client, 20_00))["status"] == "active"
    assert len((await machines_user.call("list_cards"))["cards"]) == 1

"""An automaton that knows only `tools/list` and an applicant's data, and follows only `next_steps`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.stdio import ERAS, Agent, Era, ToolError, agent, applicant

pytestmark = pytest.mark.anyio

WISHES = {"amount": 100, "label": "Books", "limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}

JOURNEY = [
    "status",
    "create_session",
    "resolve_user",
    "get_kyc_requirements",
    "submit_kyc",
    "get_agreements",
    "accept_agreements",
    "list_deposit_assets",
    "quote_deposit",
    "create_deposit",
    "get_deposit",
    "get_balances",
    "create_session",
    "create_card",
    "reveal_card",
]


class Automaton:
    """Fills what a step leaves open from the applicant's data, by the names of the tool's schema."""

    def __init__(self, user: Agent, schemas: dict[str, dict[str, Any]], data: dict[str, Any]) -> None:
        # Who it acts for is part of the data, or of the server's settings: not of this automaton.
        self.user = replace(user, who=None)
        self.schemas = schemas
        self.data = data
        self.calls: list[str] = []

    async def follow(self, step: dict[str, Any], limit: int) -> dict[str, Any]:
        """The last result: of the call without a next step, or of the `limit`-th call."""
        result: dict[str, Any] = {}
        while len(self.calls) < limit:
            self.calls.append(step["tool"])
            try:
                result = await self.user.call(step["tool"], self.fill(step))
            except ToolError as error:
                result = error.body
            if result.get("shown") or not result["next_steps"]:
                break
            step = result["next_steps"][0]
        return result

    def fill(self, step: dict[str, Any]) -> dict[str, Any]:
        names = self.schemas[step["tool"]]["properties"]
        return {name: self.data[name] for name in names if name in self.data} | step["arguments"]


async def automaton(user: Agent, data: dict[str, Any]) -> tuple[Automaton, dict[str, Any]]:
    tools = (await user.client.list_tools()).tools
    schemas = {tool.name: tool.input_schema for tool in tools}
    first = next(t.name for t in tools if not t.input_schema.get("properties"))
    return Automaton(user, schemas, data), {"tool": first, "arguments": {}}


async def test_next_steps_alone_lead_from_nothing_to_a_verified_card(user: Agent) -> None:
    walker, first = await automaton(user, applicant() | WISHES | {"user_id": user.who})
    result = await walker.follow(first, limit=20)
    assert result.get("status") == "verified", walker.calls
    assert walker.calls == JOURNEY


@pytest.mark.parametrize("era", ERAS)
async def test_so_they_do_where_the_server_is_pinned_to_one_user(era: Era, tmp_path: Path) -> None:
    async with agent(tmp_path, era, MACHINES_USER_ID="walker") as user:
        walker, first = await automaton(user, applicant() | WISHES)
        result = await walker.follow(first, limit=20)
    assert result.get("status") == "verified", walker.calls
    assert walker.calls == JOURNEY


async def test_begun_at_the_wrong_end_they_still_lead_there(user: Agent) -> None:
    walker, _ = await automaton(user, applicant() | WISHES | {"user_id": user.who})
    result = await walker.follow({"tool": "create_card", "arguments": {}}, limit=25)
    assert result.get("status") == "verified", walker.calls
    assert walker.calls[:3] == ["create_card", "get_kyc_status", "get_kyc_requirements"]

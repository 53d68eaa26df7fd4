"""What a client can offer a person besides tools: prompts, resources and completion, in both protocol eras."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError

from machines_mcp.partner.scopes import SCOPES
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.resources import RESOURCES, STEPS
from tests.support.stdio_client import ERAS, Era
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio

PROMPTS = {"onboard_user", "fund_account", "issue_card", "withdraw", "lost_card"}


async def text_at(client: Client, uri: str) -> str:
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, types.TextResourceContents)
    return content.text


async def completed(client: Client, ref: Any, name: str, value: str, **known: str) -> list[str]:
    argument = {"name": name, "value": value}
    return (await client.complete(ref, argument, context_arguments=known or None)).completion.values


@pytest.mark.parametrize("era", ERAS)
async def test_prompts_are_listed_and_filled_in(era: Era, tmp_path: Path) -> None:
    async with caller(tmp_path, mode=era) as c:
        listed = {prompt.name: prompt for prompt in (await c.client.list_prompts()).prompts}
        assert listed.keys() == PROMPTS
        for prompt in listed.values():
            assert prompt.title and prompt.description
            given = {argument.name: f"value-of-{argument.name}" for argument in prompt.arguments or []}
            (message,) = (await c.client.get_prompt(prompt.name, given)).messages
            assert isinstance(message.content, types.TextContent)
            assert all(value in message.content.text for value in given.values()), prompt.name


@pytest.mark.parametrize("era", ERAS)
async def test_journey_prompt_has_all_fifteen_steps(era: Era, tmp_path: Path) -> None:
    async with caller(tmp_path, mode=era) as c:
        assert [str(r.uri) for r in (await c.client.list_resources()).resources][:1] == ["machines://journey"]
        text = await text_at(c.client, "machines://journey")
        assert [f"\n{step}. `" in text for step in range(1, 16)] == [True] * 15


def test_journey_names_each_step_with_its_tools_gate_and_scopes() -> None:
    (journey,) = (resource.text or "" for resource in RESOURCES if resource.path == "journey")
    lines = {int(number): line for number, line in re.findall(r"^(\d+)\. (.+)$", journey, re.MULTILINE)}
    assert list(lines) == list(STEPS) == list(range(1, 16))
    for number, line in lines.items():
        assert re.findall(r"`(\w+)`", line) == [tool.name for tool in TOOLS if number in tool.steps]
        assert STEPS[number].name in line
    gated = {number: line for number, line in lines.items() if "Only after" in line}
    assert {n for n, line in gated.items() if "identity check is approved" in line} == {7, 10}
    assert {n for n, line in gated.items() if "agreements are accepted" in line} == {8, 12}
    assert "Scopes: deposits.read, deposits.write." in lines[8]
    assert {n for n, line in lines.items() if "cards.secrets.read" in line} == {13, 14}
    assert {n for n, line in lines.items() if "With the partner key." in line} == {1, 2, 10}
    known = {scope for scope in re.findall(r"\b\w+(?:\.\w+)*\.(?:read|write)\b", journey)}
    assert known <= SCOPES


@pytest.mark.parametrize("era", ERAS)
async def test_onboarding_offers_the_form_before_the_chat(era: Era, tmp_path: Path) -> None:
    async with caller(tmp_path, mode=era) as c:
        (message,) = (await c.client.get_prompt("onboard_user", {"user_id": "ann"})).messages
        assert isinstance(message.content, types.TextContent)
        text = message.content.text
        assert "identity data" in text
        assert text.index("submit_kyc` without data") < text.index("in this chat only if")


@pytest.mark.parametrize("era", ERAS)
async def test_pinned_servers_resources_match_its_read_tools(era: Era, tmp_path: Path) -> None:
    async with caller(tmp_path, mode=era) as c:
        await c.approved()
        card = await c.call("create_card", label="Books")
        for uri, tool, arguments in (
            ("machines://kyc/fields", "get_kyc_requirements", {}),
            ("machines://agreements", "get_agreements", {}),
            ("machines://transactions", "list_transactions", {}),
            (f"machines://cards/{card['card_id']}", "get_card", {"card_id": card["card_id"]}),
        ):
            said = await c.call(tool, **arguments)
            del said["next_steps"]
            assert json.loads(await text_at(c.client, uri)) == said, uri


async def test_unpinned_resource_address_names_its_user(tmp_path: Path) -> None:
    async with caller(tmp_path, user_id=None) as c:
        templates = [t.uri_template for t in (await c.client.list_resource_templates()).resource_templates]
        assert templates == [
            "machines://users/{user_id}/kyc/fields",
            "machines://users/{user_id}/agreements",
            "machines://users/{user_id}/transactions",
            "machines://users/{user_id}/cards/{card_id}",
        ]
        await c.call("create_session", user_id="a b/c", purpose="kyc")
        fields = json.loads(await text_at(c.client, "machines://users/a%20b%2Fc/kyc/fields"))
        assert fields["fields"]


@pytest.mark.parametrize(
    "uri",
    ["machines://nothing", "machines://cards/none-such-card", "machines://agreements", "file:///etc/passwd", "x" * 900],
)
async def test_unknown_resource_is_rejected_with_a_constant_text(uri: str, tmp_path: Path) -> None:
    async with caller(tmp_path, mode="legacy") as c:
        with pytest.raises(MCPError) as caught:
            await c.client.read_resource(uri)
        assert caught.value.error.code == types.INVALID_PARAMS
        assert uri not in caught.value.error.message


@pytest.mark.parametrize("era", ERAS)
async def test_users_cards_currencies_and_networks_are_completed(era: Era, tmp_path: Path) -> None:
    fund = types.PromptReference(type="ref/prompt", name="fund_account")
    card_at = types.ResourceTemplateReference(type="ref/resource", uri="machines://users/{user_id}/cards/{card_id}")
    async with caller(tmp_path, user_id=None, mode=era) as c:
        assert await completed(c.client, fund, "user_id", "") == []
        assert await completed(c.client, fund, "currency", "r") == []
        await _approved(c, "ann")
        await c.call("create_session", user_id="bob", purpose="kyc")
        card = await c.call("create_card", user_id="ann")
        assert await completed(c.client, fund, "user_id", "") == ["ann", "bob"]
        assert await completed(c.client, fund, "user_id", "B") == ["bob"]
        assert await completed(c.client, fund, "currency", "rus", user_id="ann") == ["rusd"]
        assert "base" in await completed(c.client, fund, "network", "b", user_id="ann", currency="rusd")
        assert await completed(c.client, card_at, "card_id", "", user_id="ann") == [card["card_id"]]
        assert await completed(c.client, card_at, "card_id", "", user_id="bob") == []
        assert await completed(c.client, fund, "amount", "1") == []


async def _approved(c: ToolCaller, user_id: str) -> None:
    from tests.support.stdio_client import applicant

    await c.call("submit_kyc", user_id=user_id, **applicant())
    await c.call("accept_agreements", user_id=user_id)


@pytest.mark.parametrize("era", ERAS)
async def test_wait_reports_progress(era: Era, tmp_path: Path) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async with caller(tmp_path, mode=era) as c:
        await c.approved()
        deposit = await c.call("create_deposit", currency="rusd", network="base")
        waited = {"deposit_id": deposit["deposit_id"], "wait_seconds": 30}
        await c.client.call_tool("get_deposit", waited, progress_callback=tell)
    assert told and told == sorted(told)
    assert all(0 <= done <= 1 and total == 1 and message == "the deposit" for done, total, message in told)

from __future__ import annotations

import json
from typing import Any

import mcp_types as types
import pytest
from mcp import MCPError
from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import Policy, Rule
from machines_mcp.protocol.resources import Resource, address
from machines_mcp.protocol.tool import Output, ToolContext, UserInput, tool
from machines_mcp.storage.database import Store
from tests.support.clock import Clock
from tests.support.fake_tools import ERAS, MODERN, TOOLS, Era, FakeUpstream, Harness, build_harness

pytestmark = pytest.mark.anyio

CANARY = "canary-7f3a"


class Thing(UserInput):
    thing_id: str = Field(min_length=1, max_length=20, pattern=r"^[A-Za-z0-9 _/-]+$")


class ThingShown(Output):
    owner: str
    thing: str


@tool(title="Thing", toolset="cards", action_class=ActionClass.READ, idempotent=True)
async def thing(call: ToolContext[FakeUpstream], args: Thing) -> ThingShown:
    """Show a thing."""
    await call.services.before()
    return ThingShown(owner=call.user_id, thing=args.thing_id)


RESOURCES = (
    Resource("map", "Map", "What there is.", text="# Map"),
    Resource("things/{thing_id}", "Thing", "A thing.", tool="thing"),
    Resource("notes/{note}", "Note", "A note.", tool="thing", linked_by=("note",)),
    Resource("payments", "Payments", "Not for reading.", tool="pay"),
    Resource("gone", "Gone", "Of a tool that is not there.", tool="elsewhere"),
)


@pytest.fixture
def harness(store: Store, clock: Clock) -> Harness:
    users = frozenset({"u", "user 1", "a b", "a/b ü?"})
    return build_harness(store, clock, tools=(*TOOLS, thing), resources=RESOURCES, users=users)


async def _read(harness: Harness, uri: str, era: Era = MODERN) -> str:
    async with harness.client(era) as client:
        (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, types.TextResourceContents)
    assert content.uri == uri
    return content.text


async def _refused(harness: Harness, uri: str, era: Era = MODERN) -> int:
    async with harness.client(era) as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)
    assert CANARY not in refused.value.error.model_dump_json()
    return refused.value.error.code


@pytest.mark.parametrize("pinned", [None, "user-9"])
async def test_a_uri_names_the_user_unless_the_server_is_pinned(store: Store, clock: Clock, pinned: str | None) -> None:
    harness = build_harness(store, clock, tools=(*TOOLS, thing), resources=RESOURCES, pinned_user=pinned)
    async with harness.client(MODERN) as client:
        listed = {found.uri for found in (await client.list_resources()).resources}
        templates = {found.uri_template for found in (await client.list_resource_templates()).resource_templates}
    if pinned is None:
        assert listed == {"machines://map"}
        assert templates == {
            f"machines://users/{{user_id}}/{path}" for path in ("things/{thing_id}", "notes/{note}", "payments")
        }
    else:
        assert listed == {"machines://map", "machines://payments"}
        assert templates == {"machines://things/{thing_id}", "machines://notes/{note}"}


@pytest.mark.parametrize("era", ERAS)
async def test_a_resource_returns_its_read_tools_result(harness: Harness, era: Era) -> None:
    assert await _read(harness, "machines://map", era) == "# Map"
    text = await _read(harness, "machines://users/user%201/things/a%2Fb", era)
    assert json.loads(text) == {"owner": "user 1", "thing": "a/b", "environment": "test"}


async def test_an_expanded_uri_resolves_to_its_values(harness: Harness) -> None:
    uri = address("machines://users/{user_id}/things/{thing_id}", user_id="a/b ü?", thing_id="x y")
    assert json.loads(await _read(harness, uri)) == {"owner": "a/b ü?", "thing": "x y", "environment": "test"}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "uri",
    [
        f"machines://{CANARY}",
        f"file:///{CANARY}",
        f"machines://map/{CANARY}",
        f"machines://map?{CANARY}",
        f"machines://users//things/{CANARY}",
        f"machines://users/u/things/{CANARY}/more",
        f"machines://users/u/things/{CANARY}%0a",
        f"machines://users/u%00/things/{CANARY}",
        f"machines://users/u/things/{CANARY}{'x' * 500}",
        "machines://users/u/gone",
    ],
)
async def test_an_unknown_uri_is_refused_without_being_repeated(harness: Harness, era: Era, uri: str) -> None:
    assert await _refused(harness, uri, era) == types.INVALID_PARAMS


async def test_only_read_tools_have_resources(harness: Harness) -> None:
    assert await _refused(harness, "machines://users/u/payments") == types.INVALID_PARAMS
    assert harness.upstream.paid == []
    assert await harness.approvals.waiting() == []


async def test_a_resource_is_refused_if_its_tool_is_denied_or_asks(store: Store, clock: Clock) -> None:
    for rules in ({ActionClass.READ: Rule.ASK}, {ActionClass.WRITE: Rule.ALLOW}):
        harness = build_harness(store, clock, policy=Policy(rules, "no"), tools=(*TOOLS, thing), resources=RESOURCES)
        assert await _refused(harness, "machines://users/u/things/a") == types.INVALID_PARAMS


@pytest.mark.parametrize("era", ERAS)
async def test_a_failure_behind_a_resource_yields_constant_text(harness: Harness, era: Era) -> None:
    async def fail() -> Any:
        raise ValueError(CANARY)

    harness.upstream.before = fail
    assert await _refused(harness, "machines://users/u/things/a", era) == types.INTERNAL_ERROR


@pytest.mark.parametrize("era", ERAS)
async def test_a_result_links_to_the_resource_it_describes(harness: Harness, era: Era) -> None:
    async with harness.client(era) as client:
        linked = await client.call_tool("note", {"user_id": "a b", "amount_cents": 1, "note": "x/y"})
        lacking = await client.call_tool("note", {"user_id": "a b", "amount_cents": 1})
        failed = await client.call_tool("note", {"user_id": "a b", "amount_cents": 0, "note": "x"})
    *_, link = linked.content
    assert isinstance(link, types.ResourceLink)
    assert (link.uri, link.title) == ("machines://users/a%20b/notes/x%2Fy", "Note")
    assert [content.type for content in (*lacking.content, *failed.content)] == ["text"] * 3


@pytest.mark.parametrize(("revision", "linked"), [("2025-03-26", False), ("2025-06-18", True), ("2026-07-28", True)])
async def test_a_client_that_predates_links_gets_none(store: Store, clock: Clock, revision: str, linked: bool) -> None:
    resources = build_harness(store, clock, tools=(*TOOLS, thing), resources=RESOURCES).resources
    answer: dict[str, Any] = {"content": [], "structuredContent": {"note": "x"}}
    called = types.CallToolRequestParams(name="note", arguments={"user_id": "u"})
    resources.link(revision, called, answer)
    assert len(answer["content"]) == linked

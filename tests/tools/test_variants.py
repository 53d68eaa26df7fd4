"""Known client problems, checked in every server variant: eras, toolsets, read-only, pinned, policy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, combinations, product
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol.approval_arguments import NAMES
from machines_mcp.protocol.prompts import load_prompts
from machines_mcp.server.app import App, opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.resources import RESOURCES

SETS = ("onboarding", "funding", "withdrawals", "cards", "observe")
SUBSETS = list(chain.from_iterable(combinations(SETS, n) for n in range(1, len(SETS) + 1)))
TOKENS_A_TOOL = 330
NO_IDENTITY = "[identity]\nthrough_model = false\n"


def app(folder: Path, **settings: str) -> App:
    return App(read_settings({"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder)} | settings))


def variants() -> Iterator[dict[str, str]]:
    for read_only, pinned in product((False, True), repeat=2):
        yield ({"MACHINES_READ_ONLY": "true"} if read_only else {}) | ({"MACHINES_USER_ID": "user-1"} if pinned else {})


def listed(folder: Path, **settings: str) -> list[dict[str, Any]]:
    found = app(folder, **settings).load().registry.listing
    return [tool.model_dump(mode="json", by_alias=True, exclude_unset=True) for tool in found]


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every schema within a schema. Property names are not treated as keywords."""
    if isinstance(schema, list):
        for item in schema:
            yield from nodes(item)
    if isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            yield from nodes(list(value.values()) if key == "properties" else value)


def faults(tools: list[dict[str, Any]]) -> list[str]:
    """List known client problems as tool and problem."""
    found = []
    for tool in tools:
        found += [f"{tool['name']}: its name"] if not re.fullmatch(r"[a-z][a-z_]{0,63}", tool["name"]) else []
        for key in ("inputSchema", "outputSchema"):
            found += [f"{tool['name']}.{key}: {trap}" for trap in _traps(tool[key])]
        for name, field in tool["inputSchema"]["properties"].items():
            found += [] if len(field.get("description", "")) > 3 else [f"{tool['name']}.{name}: says nothing"]
            found += [] if isinstance(field.get("type"), str) else [f"{tool['name']}.{name}: not one type"]
    cost = len(json.dumps({"tools": tools}, ensure_ascii=False, separators=(",", ":")).encode()) / 4
    return found + ([f"{cost} tokens"] if cost > TOKENS_A_TOOL * len(tools) else [])


def _traps(schema: dict[str, Any]) -> Iterator[str]:
    if schema.get("type") != "object" or "properties" not in schema:
        yield "no object"
    yield from {"anyOf", "oneOf", "allOf", "not", "if"} & schema.keys()
    for node in nodes(schema):
        yield from {"$ref", "$defs", "definitions", "$schema", "$id", "title", "examples", "nullable"} & node.keys()
        if node.get("type") == "null" or isinstance(node.get("type"), list):
            yield "null arm"
        if "default" in node and node["default"] is None:
            yield "default null"
        if node.get("required") == []:
            yield "empty required"
        if not set(node.get("required", ())) <= set(node.get("properties", node.get("required", ()))):
            yield "required without properties"


@pytest.mark.parametrize("settings", [*variants()], ids=lambda s: "+".join(s) or "plain")
def test_no_variant_has_a_known_client_problem(settings: dict[str, str], tmp_path: Path) -> None:
    tools = listed(tmp_path, **settings)
    assert tools and faults(tools) == []


def test_variant_without_optional_arguments_has_no_known_problem(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(f'version = 1\nenvironment = "embedded"\n{NO_IDENTITY}', encoding="utf-8")
    policy.chmod(0o600)
    tools = {tool["name"]: tool for tool in listed(tmp_path / "state", MACHINES_POLICY=str(policy))}
    assert faults(list(tools.values())) == []
    assert tools["submit_kyc"]["inputSchema"]["properties"].keys() == {"user_id", *NAMES}


@pytest.mark.parametrize(
    ("where", "trap"),
    [
        (("inputSchema", "anyOf"), [{"required": ["a"]}]),
        (("inputSchema", "$schema"), "http://json-schema.org/draft-07/schema#"),
        (("outputSchema", "$defs"), {}),
        (("outputSchema", "type"), "array"),
        (("inputSchema", "properties", "user_id", "title"), "User Id"),
        (("inputSchema", "properties", "user_id", "default"), None),
        (("inputSchema", "properties", "user_id", "type"), ["string", "null"]),
        (("inputSchema", "properties", "purpose", "description"), ""),
        (("outputSchema", "properties", "scopes", "items"), {"$ref": "#/$defs/Scope"}),
        (("inputSchema", "required"), ["elsewhere"]),
        (("name",), "createSession"),
        (("name",), "x" * 65),
        (("description",), "x" * 32_000),
    ],
)
def test_each_problem_is_detected(where: tuple[str, ...], trap: Any, tmp_path: Path) -> None:
    tools = listed(tmp_path)
    place: Any = next(tool for tool in tools if tool["name"] == "create_session")
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = trap
    assert faults(tools)


@pytest.mark.parametrize("settings", [*variants()], ids=lambda s: "+".join(s) or "plain")
def test_toolsets_and_read_only_select_exactly_their_tools(settings: dict[str, str], tmp_path: Path) -> None:
    reads = {tool.name for tool in TOOLS if ActionClass.READ in tool.action_classes}
    for chosen in SUBSETS:
        registry = app(tmp_path, MACHINES_TOOLSETS=",".join(chosen), **settings).load().registry
        expected = [tool.name for tool in TOOLS if tool.toolset in (*chosen, "always")]
        if "MACHINES_READ_ONLY" in settings:
            expected = [name for name in expected if name in reads]
        assert [name for name in registry.tools if name in registry.usable_names] == expected, chosen


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize(
    ("settings", "prompts"),
    [
        ({}, {"fund_account", "issue_card", "lost_card", "onboard_user", "withdraw"}),
        ({"MACHINES_READ_ONLY": "true"}, set()),
        ({"MACHINES_TOOLSETS": "cards,observe"}, {"lost_card"}),
        ({"MACHINES_TOOLSETS": "funding,withdrawals"}, {"fund_account", "withdraw"}),
        ({"MACHINES_TOOLSETS": "onboarding"}, set()),
    ],
)
async def test_features_of_an_absent_tool_are_not_offered(
    settings: dict[str, str], prompts: set[str], mode: str, tmp_path: Path
) -> None:
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path), "MACHINES_USER_ID": "user-1"} | settings
    async with opened(read_settings(env)) as found, Client(found.server(), mode=mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {prompt.name for prompt in (await client.list_prompts()).prompts} == prompts
        for prompt in load_prompts().keys() - prompts:
            with pytest.raises(MCPError):
                await client.get_prompt(prompt, {})
        shown: list[types.Resource | types.ResourceTemplate] = [*(await client.list_resources()).resources]
        shown += (await client.list_resource_templates()).resource_templates
        assert {each.title for each in shown} == {r.title for r in RESOURCES if r.tool is None or r.tool in names}
        assert len(client.instructions or "") <= 1_200

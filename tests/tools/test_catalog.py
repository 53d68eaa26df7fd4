"""The contract of `tools/list`: names, schemas, hints and size. The files under golden/ hold the exact text."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.redaction.environment import SIMULATOR_NOTE
from machines_mcp.server.app import App
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.tools.catalog import TOOLS
from tests.tools import golden

pytestmark = pytest.mark.anyio

# In the order of the journey, as clients list them.
NAMES = [
    "status",
    "cancel_approval",
    "list_users",
    "create_session",
    "resolve_user",
    "get_kyc_requirements",
    "submit_kyc",
    "get_kyc_status",
    "get_agreements",
    "accept_agreements",
    "list_deposit_assets",
    "quote_deposit",
    "create_deposit",
    "list_deposits",
    "get_deposit",
    "get_balances",
    "list_transactions",
    "list_withdrawal_assets",
    "quote_withdrawal",
    "create_withdrawal",
    "get_withdrawal_transaction",
    "confirm_withdrawal",
    "list_withdrawals",
    "create_card",
    "list_cards",
    "get_card",
    "update_card",
    "close_card",
    "reveal_card",
]
CLASSES = {
    "cancel_approval": {ActionClass.WRITE},
    "create_session": {ActionClass.WRITE},
    "resolve_user": {ActionClass.WRITE, ActionClass.IDENTITY},
    "submit_kyc": {ActionClass.IDENTITY},
    "accept_agreements": {ActionClass.CONSENT},
    "create_deposit": {ActionClass.WRITE},
    "create_withdrawal": {ActionClass.MONEY},
    "confirm_withdrawal": {ActionClass.WRITE},
    "create_card": {ActionClass.MONEY},
    "update_card": {ActionClass.WRITE, ActionClass.MONEY},
    "close_card": {ActionClass.DESTROY},
    # Sink `none` reveals the card to no one.
    "reveal_card": {ActionClass.READ, ActionClass.REVEAL},
}
# On average for each listed tool.
TOKENS_A_TOOL = 330
MEDIAN_TOKENS = 170
INSTRUCTIONS_CHARACTERS = 1_200


@pytest.fixture(scope="module")
async def tools() -> list[dict[str, Any]]:
    return await golden.listed()


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every schema within a schema. Property names are not treated as keywords."""
    if isinstance(schema, list):
        for item in schema:
            yield from _nodes(item)
    if isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            yield from _nodes(list(value.values()) if key == "properties" else value)


def _schemas(tools: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(tool["name"], tool[key]) for tool in tools for key in ("inputSchema", "outputSchema")]


def _tokens(value: Any) -> float:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) / 4


@pytest.mark.parametrize("name", NAMES)
async def test_tool_matches_its_golden_file(tools: list[dict[str, Any]], name: str) -> None:
    (found,) = [tool for tool in tools if tool["name"] == name]
    expected = json.loads((golden.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert found == expected, "if intended, run python -m tests.tools.golden"
    for key in ("inputSchema", "outputSchema"):
        assert list(found[key]["properties"]) == list(expected[key]["properties"])


def test_removed_tools_have_no_golden_file() -> None:
    assert sorted(path.stem for path in golden.FOLDER.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_every_client_gets_the_same_list_in_the_same_order(tools: list[dict[str, Any]], mode: str) -> None:
    assert [tool["name"] for tool in tools] == NAMES
    first, second = [await golden.listed(mode) for _ in range(2)]
    assert first == tools
    assert json.dumps(first) == json.dumps(second)


def test_every_tool_has_an_action_class() -> None:
    declared = {tool.name: set(tool.action_classes) for tool in TOOLS}
    assert declared == {name: CLASSES.get(name, {ActionClass.READ}) for name in NAMES}


async def test_list_stays_within_its_token_budget(tools: list[dict[str, Any]]) -> None:
    assert _tokens({"tools": tools}) <= TOKENS_A_TOOL * len(tools)
    shown = [_tokens({key: tool[key] for key in ("name", "description", "inputSchema")}) for tool in tools]
    assert statistics.median(shown) <= MEDIAN_TOKENS


async def test_fields_of_every_result_are_described_by_the_instructions_alone(tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        assert "additionalProperties" not in tool["outputSchema"]
        assert not {"environment", "next_steps", "simulated"} & tool["outputSchema"]["properties"].keys()


async def test_every_tool_has_title_description_schemas_and_hints(
    tools: list[dict[str, Any]],
) -> None:
    for tool in tools:
        assert re.fullmatch(r"[A-Z][^.]{3,40}", tool["title"])
        assert re.fullmatch(r"[A-Z].{40,400}\.", tool["description"])
        assert tool["inputSchema"]["type"] == tool["outputSchema"]["type"] == "object"
        hints = tool["annotations"]
        assert hints.keys() == {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
        assert all(isinstance(value, bool) for value in hints.values())
    assert len({tool["title"] for tool in tools}) == len(tools)


async def test_hints_agree_with_the_action_classes(tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        classes, hints = CLASSES.get(tool["name"], {ActionClass.READ}), tool["annotations"]
        assert hints["readOnlyHint"] is (classes == {ActionClass.READ})
        assert hints["destructiveHint"] is not classes.issubset({ActionClass.READ, ActionClass.WRITE}), tool["name"]


async def test_only_tools_that_need_approval_take_an_approval_id(tools: list[dict[str, Any]]) -> None:
    asks = {name for name, classes in CLASSES.items() if classes - {ActionClass.READ, ActionClass.WRITE}}
    # It withdraws an approval's request, and asks nobody itself.
    own = {"cancel_approval"}
    assert {tool["name"] for tool in tools if "approval_id" in tool["inputSchema"]["properties"]} == asks | own


async def test_schemas_are_valid_and_avoid_known_client_problems(tools: list[dict[str, Any]]) -> None:
    for name, schema in _schemas(tools):
        Draft202012Validator.check_schema(schema)
        assert not {"anyOf", "oneOf", "allOf", "not", "$defs"} & schema.keys(), name
        for node in _nodes(schema):
            assert not {"$ref", "$defs", "title"} & node.keys(), name
            assert node.get("type") != "null", name
            assert "default" not in node or node["default"] is not None, name


async def test_arguments_are_flat_closed_and_bounded(tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        schema = tool["inputSchema"]
        assert schema["additionalProperties"] is False
        for name, field in schema["properties"].items():
            where = (tool["name"], name)
            assert re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name), where
            assert field["type"] in ("string", "integer", "number", "boolean", "array"), where
            if field["type"] == "array":
                assert "maxItems" in field, where
                assert "enum" in field["items"], where
            if field["type"] == "string":
                assert {"enum", "const", "maxLength", "pattern"} & field.keys(), where
            if field["type"] in ("integer", "number"):
                assert {"minimum", "exclusiveMinimum"} & field.keys(), where
                assert {"maximum", "exclusiveMaximum"} & field.keys(), where
            if name.endswith("_cents"):
                assert field["type"] == "integer", where


async def test_pattern_of_a_string_without_a_length_bounds_it(tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        for name, field in tool["inputSchema"]["properties"].items():
            if field["type"] == "string" and "pattern" in field and "maxLength" not in field:
                assert not re.search(r"[*+]|\{\d+,\}", field["pattern"]), (tool["name"], name)


async def test_pinned_server_takes_no_user_id(tools: list[dict[str, Any]]) -> None:
    pinned = {tool["name"]: tool for tool in await golden.listed(MACHINES_USER_ID="user-1")}
    for tool in tools:
        given = dict(tool["inputSchema"]["properties"])
        assert ("user_id" in given) is (tool["name"] not in ("status", "cancel_approval", "list_users"))
        given.pop("user_id", None)
        assert pinned[tool["name"]]["inputSchema"]["properties"] == given
        assert "user_id" not in pinned[tool["name"]]["inputSchema"].get("required", [])


async def test_read_only_server_lists_only_reads() -> None:
    found = {tool["name"] for tool in await golden.listed(MACHINES_READ_ONLY="true")}
    assert found == set(NAMES) - CLASSES.keys() | {"reveal_card"}


@pytest.mark.parametrize(
    ("toolsets", "names"),
    [
        ("onboarding", NAMES[:10]),
        ("funding,observe", [*NAMES[:2], *NAMES[10:17]]),
        ("withdrawals", [*NAMES[:2], *NAMES[17:23]]),
        ("cards", [*NAMES[:2], *NAMES[23:]]),
    ],
)
async def test_toolset_selects_its_part_of_the_journey(toolsets: str, names: list[str]) -> None:
    assert [tool["name"] for tool in await golden.listed(MACHINES_TOOLSETS=toolsets)] == names


@pytest.mark.parametrize("simulated", [True, False])
def test_instructions_are_short_and_name_the_simulation(tmp_path: Any, simulated: bool) -> None:
    settings = {"MACHINES_STATE_DIR": str(tmp_path)}
    if not simulated:
        settings |= {
            "MACHINES_ENV": "sandbox",
            "MACHINES_PARTNER_KEY": "mk-0123456789",
            "MACHINES_USER_ID": "user-1",
        }
    server = App(read_settings(settings)).server()
    assert server.instructions is not None
    assert len(server.instructions) <= INSTRUCTIONS_CHARACTERS
    assert all(f" {name}" in server.instructions for name in ("environment", "simulated", "next_steps"))
    assert (SIMULATOR_NOTE in server.instructions) is simulated
    assert ("simulator" in str(server.title)) is simulated
    assert set(re.findall(r"\b[a-z]+_[a-z_]+\b", server.instructions)) <= {"next_steps", "approval_id", "_cents"}


def test_every_step_of_the_guide_has_a_tool() -> None:
    assert {step for tool in TOOLS for step in tool.steps} == set(range(1, 16))


def _marked(tools: list[dict[str, Any]], key: str) -> set[str]:
    return {tool["name"] for tool in tools if tool.get("_meta", {}).get(key)}


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_clients_load_status_without_a_search(mode: str) -> None:
    tools = await golden.listed(mode)
    assert _marked(tools, "anthropic/alwaysLoad") == {"status"}
    assert [tool["name"] for tool in tools if "_meta" in tool] == ["status"]


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize("read_only", [False, True])
async def test_client_asks_for_what_may_need_approval_only_if_set(read_only: bool, mode: str) -> None:
    only = {"MACHINES_READ_ONLY": "true"} if read_only else {}
    key = "anthropic/requiresUserInteraction"
    assert _marked(await golden.listed(mode, **only), key) == set()
    asking = await golden.listed(mode, MACHINES_ASK_IN_CLIENT="true", **only)
    expected = {name for name, classes in CLASSES.items() if classes - {ActionClass.READ, ActionClass.WRITE}}
    # Such a server refuses all that could need approval.
    assert _marked(asking, key) == (set() if read_only else expected)
    assert _marked(asking, "anthropic/alwaysLoad") == {"status"}

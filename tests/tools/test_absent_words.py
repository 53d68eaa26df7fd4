"""Words for a missing value: absent in optional text, refused where they would be sent, and taken as names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.protocol.approval_arguments import ApprovalArguments
from machines_mcp.protocol.arguments import validate
from machines_mcp.protocol.coercion import schema_of
from machines_mcp.protocol.errors import ToolError
from machines_mcp.protocol.tool import Tool
from machines_mcp.server.settings import SettingsError
from machines_mcp.server.settings_reader import VARIABLES, read_settings
from machines_mcp.tools.catalog import TOOLS
from tests.support.stdio_client import applicant

WORDS = ["null", "None", "undefined"]
REFUSED = {"user_id", "label", "wallet_label", "extra_id", "address"}
NAMES = {"first_name", "last_name"}
PLACEHOLDERS = ["${USER}", "${input:user}", "{{user}}", "{{ user }}", "%USER%", "<user id>", "${}"]
REST: dict[str, dict[str, Any]] = {
    "submit_kyc": applicant(),
    "quote_withdrawal": {"amount_cents": 500, "currency": "x", "network": "newchain", "address": "abcd"},
    "get_withdrawal_transaction": {"withdrawal_id": "wd_" + "0" * 32},
    "update_card": {"card_id": "0" * 8, "status": "locked"},
}
OPTIONAL = [
    (tool, name)
    for tool in TOOLS
    for name, schema in schema_of(tool.input_model)["properties"].items()
    if schema.get("type") == "string"
    and "enum" not in schema
    and name not in schema_of(tool.input_model).get("required", ())
]


def read(tool: Tool, **arguments: Any) -> dict[str, Any]:
    user = {"user_id": "user-1"} if tool.per_user else {}
    return validate(tool, user | REST.get(tool.name, {}) | arguments, None).model_dump()


def refused(tool: Tool, **arguments: Any) -> dict[str, str]:
    with pytest.raises(ToolError) as error:
        read(tool, **arguments)
    return {fault.field: fault.rule for fault in error.value.fields}


@pytest.mark.parametrize(("tool", "name"), OPTIONAL, ids=lambda value: getattr(value, "name", value))
def test_words_in_optional_text(tool: Tool, name: str) -> None:
    required = tool.name == "submit_kyc" and name in REST["submit_kyc"]
    for word in WORDS:
        if name in REFUSED:
            assert "missing value" in refused(tool, **{name: word})[name]
        elif name in NAMES:
            assert read(tool, **{name: word})[name] == word
        elif required:
            assert refused(tool, **{name: word}) == {name: "is required"}
        else:
            assert read(tool, **{name: word}) == read(tool, **{name: None})
    if name not in REFUSED | NAMES and not required:
        assert read(tool, **{name: ""}) == read(tool, **{name: None})
    else:
        assert name in refused(tool, **{name: ""})


@pytest.mark.parametrize("word", ["Null", "NULL", "none", "nullable"])
def test_other_spellings_are_text(word: str) -> None:
    (create_card,) = (tool for tool in TOOLS if tool.name == "create_card")
    assert read(create_card, label=word)["label"] == word


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool.per_user], ids=lambda tool: tool.name)
def test_user_ids_are_never_words_or_placeholders(tool: Tool) -> None:
    for text in WORDS:
        assert "missing value" in refused(tool, user_id=text)["user_id"]
    for text in PLACEHOLDERS:
        assert refused(tool, user_id=text)["user_id"] == "is a placeholder that was not filled in"


def test_absent_approval_id_is_none() -> None:
    given = [ApprovalArguments.model_validate({"approval_id": word}) for word in [*WORDS, ""]]
    assert [each.approval_id for each in given] == [None] * 4


@pytest.mark.parametrize("name", sorted(VARIABLES))
@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_settings_that_are_placeholders_are_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings({"MACHINES_ENV": "embedded"} | {name: text})
    assert str(error.value).startswith(f"{name} is a placeholder")
    assert text not in str(error.value)


@pytest.mark.parametrize("word", WORDS)
def test_pinned_user_is_no_word(word: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="MACHINES_USER_ID"):
        read_settings({"MACHINES_ENV": "embedded", "MACHINES_USER_ID": word, "MACHINES_STATE_DIR": str(tmp_path)})


def test_value_with_a_placeholder_inside_is_kept(tmp_path: Path) -> None:
    settings = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path)}
    for text in ("user-${1}", "50%", "a < b > c", "{{a}}-{{b}}"):
        assert read_settings(settings | {"MACHINES_USER_ID": text}).user_id == text

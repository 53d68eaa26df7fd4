"""Errors of arguments say the rule in the words of the argument's type, never in a pattern alone."""

from __future__ import annotations

from typing import Any

import pytest

from machines_mcp.protocol.arguments import validate
from machines_mcp.protocol.coercion import schema_of
from machines_mcp.protocol.errors import ToolError
from machines_mcp.protocol.tool import Tool
from machines_mcp.tools.catalog import TOOLS

ARGUMENTS = [
    pytest.param(tool, name, schema, id=f"{tool.name}-{name}")
    for tool in TOOLS
    for name, schema in schema_of(tool.input_model)["properties"].items()
    if schema.get("type") in ("string", "array") and "enum" not in schema
]
every_argument = pytest.mark.parametrize(("tool", "name", "schema"), ARGUMENTS)


def rule(tool: Tool, name: str, value: Any) -> str:
    with pytest.raises(ToolError) as error:
        validate(tool, {name: value}, None)
    return next(fault.rule for fault in error.value.fields if fault.field == name)


@every_argument
def test_lengths_count_characters_or_items(tool: Tool, name: str, schema: dict[str, Any]) -> None:
    text = schema["type"] == "string"
    unit, most, least = ("character", "maxLength", "minLength") if text else ("item", "maxItems", "minItems")
    if most in schema:
        long = "7" * (schema[most] + 1) if text else [schema["items"]["enum"][0]] * (schema[most] + 1)
        assert rule(tool, name, long).startswith(f"must have at most {schema[most]} {unit}s")
    if schema.get(least, 0) > 1:
        assert rule(tool, name, "x").startswith(f"must have at least {schema[least]} {unit}s")


@every_argument
def test_empty_values_are_absent_or_refused_in_words(tool: Tool, name: str, schema: dict[str, Any]) -> None:
    required = name in schema_of(tool.input_model).get("required", ())
    if not required and schema.get("words") == "refused":
        assert rule(tool, name, "").startswith("must not be empty")
    elif required or schema.get("words") == "kept" or schema["type"] == "array":
        said = rule(tool, name, "")
        assert said.startswith("must have at least ") or ", such as " in said
    else:
        with pytest.raises(ToolError) as error:
            validate(tool, {name: "", "no_such_argument": 1}, None)
        # A tool that takes all of its data or none calls it missing.
        assert [each.rule for each in error.value.fields if each.field == name] in ([], ["is required"])


@every_argument
def test_a_pattern_comes_with_words_or_an_example(tool: Tool, name: str, schema: dict[str, Any]) -> None:
    if "pattern" not in schema:
        return
    said = rule(tool, name, "é é")
    assert ", such as " in said or "^" not in said, said

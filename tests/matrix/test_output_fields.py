"""No output has a field for a card number, code, key or token, so repeated calls cannot assemble one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from machines_mcp.protocol.schema import output_schema
from machines_mcp.protocol.tool import Output, Tool
from machines_mcp.tools.card_output import CardOutput
from machines_mcp.tools.catalog import TOOLS
from tests.support.card_numbers import card_number

_NEVER = re.compile(r"pan|card_?number|cvc|cvv|csc|secret|token|password|ssn|national|key")


def _fields(node: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        for key, inner in node.get("properties", {}).items():
            yield key, inner
            yield from _fields(inner, key)
        for part in ("items", "additionalProperties"):
            yield from _fields(node.get(part), name)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_output_has_no_field_for_a_secret(tool: Tool) -> None:
    fields = list(_fields(output_schema(tool)))
    assert fields
    assert [name for name, _ in fields if _NEVER.search(name)] == []


@pytest.mark.parametrize("last4", ["12345", "123", card_number(), "\u0661\u0662\u0663\u0664", "abcd"], ids=range(5))
def test_last_four_digits_are_four_digits(last4: str) -> None:
    with pytest.raises(ValidationError):
        CardOutput(last4=last4)
    assert CardOutput(last4="1234").last4 == "1234"


def test_field_for_a_secret_would_be_detected() -> None:
    class Deep(BaseModel):
        cvc: str

    class Leaky(Output):
        cards: list[Deep]

    schema = Leaky.model_json_schema()
    schema["properties"]["cards"]["items"] = schema["$defs"]["Deep"]
    assert [name for name, _ in _fields(schema) if _NEVER.search(name)] == ["cvc"]

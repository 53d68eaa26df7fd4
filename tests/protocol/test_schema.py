from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from machines_mcp.protocol.schema import flat_schema, input_schema, output_schema
from machines_mcp.protocol.tool import Input, OutputPart
from tests.support.fake_tools import change, look, pay


class Street(OutputPart):
    """A docstring for readers of the code."""

    line: str = Field(max_length=9, description="Street and number")
    city: str | None = None


class Everything(Input):
    """A docstring for readers of the code."""

    title: str = Field(default="x", description="A field that is called title")
    default: int = 0
    street: Street
    other: Street | None = Field(default=None, description="A second one")
    many: list[Street] | None = Field(default=None, max_length=2)
    either: int | str
    when: datetime | None = None
    kind: Literal["a", "b"] | None = None


def test_schemas_omit_unsupported_keywords_and_keep_the_rest() -> None:
    street = {
        "type": "object",
        "properties": {
            "line": {"type": "string", "maxLength": 9, "description": "Street and number"},
            "city": {"type": "string"},
        },
        "required": ["line"],
        "additionalProperties": False,
    }
    assert flat_schema(Everything, "validation") == {
        "type": "object",
        "properties": {
            "title": {"type": "string", "default": "x", "description": "A field that is called title"},
            "default": {"type": "integer", "default": 0},
            "street": street,
            "other": street | {"description": "A second one"},
            "many": {"type": "array", "items": street, "maxItems": 2},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "when": {"type": "string", "format": "date-time"},
            "kind": {"type": "string", "enum": ["a", "b"]},
        },
        "required": ["street", "either"],
        "additionalProperties": False,
    }


def test_results_allow_extra_fields_at_every_depth() -> None:
    def closed(node: Any) -> bool:
        if isinstance(node, dict):
            return node.get("additionalProperties") is False or any(map(closed, node.values()))
        return isinstance(node, list) and any(map(closed, node))

    assert closed(flat_schema(Everything, "validation"))
    assert not closed(flat_schema(Everything, "serialization"))


def test_a_model_without_fields_is_an_object_schema() -> None:
    class Nothing(BaseModel):
        pass

    assert flat_schema(Nothing, "validation") == {"type": "object", "properties": {}}


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("pinned", [True, False])
def test_user_and_approval_are_arguments_only_if_they_apply(pinned: bool, asks: bool) -> None:
    schema = input_schema(pay, pinned=pinned, asks=asks)
    assert ("user_id" in schema["properties"]) is not pinned
    assert ("user_id" in schema["required"]) is not pinned
    assert [name for name in ("approval_id", "wait_seconds") if name in schema["properties"]] == (
        ["approval_id", "wait_seconds"] if asks else []
    )
    assert not {"approval_id", "wait_seconds"} & set(schema["required"])
    assert schema["additionalProperties"] is False


def test_a_tool_without_required_arguments_has_no_empty_required_list() -> None:
    assert "required" not in input_schema(look, pinned=True, asks=False)


def test_building_one_schema_does_not_change_another() -> None:
    before = input_schema(change, pinned=False, asks=False)
    input_schema(change, pinned=True, asks=True)
    assert input_schema(change, pinned=False, asks=False) == before


def test_output_schema_lists_only_what_the_instructions_do_not_describe() -> None:
    schema = output_schema(look)
    assert list(schema["properties"]) == ["lines", "first"]
    assert not {"required", "additionalProperties"} & schema.keys()


class Ids(Input):
    card: str = Field(pattern=r"^[A-Za-z0-9._~-]{8,128}$")
    code: str = Field(pattern=r"^[0-9a-f]{32}$")
    tag: str = Field(max_length=9, pattern=r"^[!-~]+$")
    word: str = Field(min_length=1, max_length=9)
    query: str = Field(min_length=2, max_length=9)
    quote: str = Field(pattern=r"^quote_[0-9a-f]{32}$")


def test_patterns_and_lengths_that_say_nothing_to_a_model_are_left_out() -> None:
    assert flat_schema(Ids, "validation")["properties"] == {
        "card": {"type": "string", "maxLength": 128},
        "code": {"type": "string", "maxLength": 32},
        "tag": {"type": "string", "maxLength": 9},
        "word": {"type": "string", "maxLength": 9},
        "query": {"type": "string", "minLength": 2, "maxLength": 9},
        "quote": {"type": "string", "pattern": "^quote_[0-9a-f]{32}$"},
    }
    kept = flat_schema(Ids, "validation", examples=True)["properties"]
    assert (kept["card"]["pattern"], kept["word"]["minLength"]) == ("^[A-Za-z0-9._~-]{8,128}$", 1)

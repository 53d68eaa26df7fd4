"""Test JSON with comments and trailing commas, and the line of each syntax error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines_mcp.cli.client_configs.errors import Unreadable
from machines_mcp.cli.client_configs.jsonc import parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None)
@given(value=VALUES, indent=st.sampled_from([None, 2]), plain=st.booleans())
def test_plain_json_is_parsed_unchanged(value: Any, indent: int | None, plain: bool) -> None:
    node = parse(json.dumps(value, indent=indent, ensure_ascii=plain))
    assert node is not None
    assert node.value == value


def test_comments_and_trailing_commas_are_ignored() -> None:
    node = parse('\ufeff// a\n{"b": [1, /* } */ 2,], // "c": 3\n "d//": "/* e */",\r\n}/**/\n')
    assert node is not None
    assert node.value == {"b": [1, 2], "d//": "/* e */"}


@pytest.mark.parametrize("text", ["", " \n", "\ufeff", "// a", "/* a\n*/\n"])
def test_a_document_without_a_value_is_none(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{\n"a": 1\n"b": 2}', 3),
        ('{\n"a" 1}', 2),
        ("{\n\n'a': 1}", 3),
        ("{\na: 1}", 2),
        ('{"a": 1}\n{"b": 2}', 2),
        ('{"a": 1,\n', 2),
        ('{"a": \n', 2),
        ('{"a": [1\n2]}', 2),
        ('{"a": 1,,}', 1),
        ("[,]", 1),
        ('\n{"a": "b\n"}', 2),
        ('{"a": "\\x"}', 1),
        ('{"a": 01}', 1),
        ('{"a": +1}', 1),
        ('{"a": .5}', 1),
        ('{"a": NaN}', 1),
        ('{"a": undefined}', 1),
        ('{"a": 1 /* b\n}', 1),
        ('{"a": \u0661}', 1),
        ("\n" + "[" * 10_000, 2),
        ('{"a":\n' + "1" * 5000 + "}", 2),
    ],
)
def test_invalid_json_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(Unreadable) as refused:
        parse(text)
    assert refused.value.line == line

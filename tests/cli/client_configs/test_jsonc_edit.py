"""Test that editing one entry of JSON with comments preserves every other byte."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given, settings

from machines_mcp.cli.client_configs.errors import Unreadable
from machines_mcp.cli.client_configs.jsonc import JSONC, STRICT, Dialect
from machines_mcp.cli.client_configs.jsonc_edit import read_values, remove_entry, set_entry
from tests.cli.client_configs import readers
from tests.cli.client_configs.documents import HELD, OLD, Document, documents

PATH = ("mcpServers", "machines")
ENTRY: dict[str, Any] = {"command": "/opt/é/machines-mcp", "args": ["serve"], "env": {"MACHINES_ENV": "embedded"}}
_COMMENT_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|(?P<comment>//[^\r\n]*|/\*.*?\*/)', re.DOTALL)


few = settings(max_examples=25, deadline=None)


def comments(text: str) -> list[str]:
    return [found["comment"] for found in _COMMENT_OR_STRING.finditer(text) if found["comment"]]


def _common_prefix(one: str, other: str) -> int:
    """Return the length of the common prefix."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def with_entry(value: dict[str, Any]) -> dict[str, Any]:
    return value | {"mcpServers": value.get("mcpServers", {}) | {"machines": ENTRY}}


@few
@given(document=documents(held=False))
@example(document=Document('{"mcpServers": {"a": {} // b\n}}', {"mcpServers": {"a": {}}}))
def test_an_insertion_adds_only_the_entry_and_at_most_a_comma(document: Document) -> None:
    old, new = document.text, set_entry(document.text, PATH, ENTRY)
    assert read_values(new) == with_entry(document.value)
    same = _common_prefix(old, new)
    behind = _common_prefix(old[same:][::-1], new[same:][::-1])
    was, inserted = old[same : len(old) - behind], new[same : len(new) - behind]
    assert not was or (inserted[0] == "," and inserted[1:].startswith(was))


@few
@given(document=documents(held=True))
def test_a_different_entry_is_replaced_in_place(document: Document) -> None:
    before, after = document.text.split(OLD)
    new = set_entry(document.text, PATH, ENTRY)
    assert read_values(new) == with_entry(document.value)
    assert new.startswith(before)
    assert new.endswith(after)


@few
@given(document=documents(held=True))
@example(document=Document(f'{{"mcpServers": {{ // a\n"machines": {OLD}, "b": 1}}}}', {"mcpServers": {"b": 1}}))
def test_a_removal_keeps_all_other_values_and_comments(document: Document) -> None:
    new = remove_entry(document.text, PATH)
    servers = {name: value for name, value in document.value["mcpServers"].items() if name != "machines"}
    assert read_values(new) == document.value | {"mcpServers": servers}
    assert comments(new) == comments(document.text)
    # Only whitespace and one comma are removed with it.
    before, after = document.text.split(HELD)
    assert re.sub(r"[\s,]", "", new) == re.sub(r"[\s,]", "", before + after)


@few
@given(document=documents(held=False))
def test_a_removal_undoes_an_insertion_next_to_other_entries(document: Document) -> None:
    if document.value.get("mcpServers"):
        assert remove_entry(set_entry(document.text, PATH, ENTRY), PATH) == document.text
    assert remove_entry(document.text, PATH) == document.text


@pytest.mark.parametrize(
    ("dialect", "client"),
    [
        (STRICT, "claude-desktop"),
        (Dialect(comments=True), "gemini-cli"),
        (Dialect(comments=True, trailing_commas=True), "zed"),
        (JSONC, "vscode"),
    ],
    ids=["strict", "comments", "commas", "jsonc"],
)
@settings(max_examples=100, deadline=None)
@given(document=documents(held=False))
@example(document=Document("{}", {}))
@example(document=Document("\ufeff{}", {}))
@example(document=Document("// a\n{}", {}))
@example(document=Document('{"a": [1,]}', {"a": [1]}))
@example(document=Document('{"a": "//, /*",}', {"a": "//, /*"}))
@example(document=Document('{"a": NaN}', {}))
@example(document=Document('{"a": -Infinity}', {}))
def test_a_dialect_reads_what_its_client_reads_and_nothing_else(
    dialect: Dialect, client: str, document: Document
) -> None:
    try:
        expected = readers.read(client, document.text)
    except ValueError:
        with pytest.raises(Unreadable):
            read_values(document.text, dialect)
    else:
        assert read_values(document.text, dialect) == expected == document.value


def test_the_entry_uses_the_indentation_of_its_neighbours() -> None:
    old = '{\r\n\t"mcpServers": {\r\n\t\t"a": {}, // b\r\n\t},\r\n}\r\n'
    new = '\r\n\t\t"machines": {\r\n\t\t\t"command": "c"\r\n\t\t},'
    assert set_entry(old, PATH, {"command": "c"}) == old.replace("// b", "// b" + new)
    assert set_entry('{"a": {}}', PATH, {"command": "c"}) == '{"a": {}, "mcpServers": {"machines": {"command": "c"}}}'


def test_a_comment_stays_with_its_entry() -> None:
    new = set_entry('{\n  "mcpServers": {\n    "a": {} // about a\n    // and more\n  } // all\n}', PATH, {})
    assert new == ('{\n  "mcpServers": {\n    "a": {}, // about a\n    // and more\n    "machines": {}\n  } // all\n}')
    assert remove_entry(new.replace("{}\n  }", "{} // about ours\n  }"), PATH).endswith("// about ours\n  } // all\n}")


@pytest.mark.parametrize("text", ["", "\ufeff", "// mine\n", "{}", "{ }\n", "{\n}\n", '{"mcpServers": {}}'])
def test_an_empty_config_gets_only_the_entry(text: str) -> None:
    new = set_entry(text, PATH, ENTRY)
    assert read_values(new) == {"mcpServers": {"machines": ENTRY}}
    assert comments(new) == comments(text)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("\n[]", 2, "not an object"),
        ('{\n"mcpServers": []}', 2, "mcpServers is not an object"),
        ('{"mcpServers": null}', 1, "mcpServers is not an object"),
        ('{"mcpServers": {},\n"mcpServers": {}}', 2, "mcpServers is defined twice"),
        ('{"mcpServers": {"machines": 1,\n"machines": 2}}', 2, "machines is defined twice"),
    ],
)
def test_a_config_without_one_place_for_the_entry_is_refused(text: str, line: int, says: str) -> None:
    with pytest.raises(Unreadable, match=says) as refused:
        set_entry(text, PATH, ENTRY)
    assert refused.value.line == line
    with pytest.raises(Unreadable, match=says):
        remove_entry(text, PATH)

"""Test that editing one entry of YAML preserves every other line, and that PyYAML reads the same values."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from machines_mcp.cli.client_configs.errors import Unreadable
from machines_mcp.cli.client_configs.yaml_edit import read_values, remove_entry, set_entry

PATH = ("extensions", "machines")
ENTRY: dict[str, Any] = {
    "enabled": True,
    "cmd": "/opt/é: #1/\U0001f600/machines-mcp",
    "args": ["serve", "on", "1", ""],
    "envs": {"A": "0x10", "B": "~"},
    "timeout": 180,
}
BLOCK = """\
# mine
GOOSE_MODE: "auto" # why

extensions: # all
  # about other
  other:
      cmd: x
      args:
      - -y # theirs
      text: |
        # no comment

        end
  # below
last: {a: [1, 2], b: null}
# end
"""
_NAMES = st.sampled_from(["a", "b", "'c d'", '"e"'])
_LINES = ["x", "'y: z'", "[1, {q: 2}] # t", "{}", "|\n@  text # text\n\n@  more", "\n@  k: v # c\n@  # own\n@  l: w"]


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Draw a Goose config in block style, with comments and blank lines, and mostly with extensions."""
    lines: list[str] = []
    for name in draw(st.lists(_NAMES, max_size=2, unique=True)):
        lines += [*draw(_SPACE), f"{name}: {draw(st.sampled_from(_LINES)).replace('@', '')}"]
    unit = " " * draw(st.integers(1, 4))
    if draw(st.booleans()):
        members = []
        for name in draw(st.lists(_NAMES, min_size=1, max_size=3, unique=True)):
            members += [*draw(_SPACE), f"{unit}{name}: {draw(st.sampled_from(_LINES)).replace('@', unit)}"]
        group = ["extensions: # all", *members]
        at = draw(st.sampled_from([0, len(lines)]))
        lines = [*lines[:at], *group, *lines[at:]]
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return "".join(line + "\n" for line in lines).replace("\n", newline) + draw(
        st.sampled_from(["", "# end" + newline])
    )


_SPACE = st.lists(st.sampled_from(["", "# note: {", "  # indented"]), max_size=2)


def with_entry(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"extensions": (values.get("extensions") or {}) | {"machines": ENTRY}}


@settings(max_examples=60, deadline=None)
@given(text=documents())
def test_an_insertion_adds_lines_and_a_removal_takes_them_out(text: str) -> None:
    values = yaml.safe_load(text) or {}
    new = set_entry(text, PATH, ENTRY)
    assert yaml.safe_load(new) == read_values(new) == with_entry(values)
    # The old lines are all there, in their order.
    rest = iter(new.splitlines())
    assert all(line in rest for line in text.splitlines())
    gone = remove_entry(new, PATH)
    if values.get("extensions"):
        assert gone == text
    else:
        assert yaml.safe_load(gone) == values | {"extensions": {}}
    assert remove_entry(text, PATH) == text


@settings(max_examples=30, deadline=None)
@given(text=documents())
def test_a_different_entry_is_replaced_in_place(text: str) -> None:
    old = set_entry(text, PATH, {"cmd": "old", "args": [], "envs": {"A": "b"}})
    assert set_entry(old, PATH, ENTRY) == set_entry(text, PATH, ENTRY)


def test_the_entry_is_indented_as_its_neighbours_and_below_them() -> None:
    new = set_entry(BLOCK, PATH, {"cmd": "c", "args": ["serve"]})
    assert new == BLOCK.replace("  # below", '  machines:\n    cmd: "c"\n    args:\n      - "serve"\n  # below')
    assert remove_entry(new, PATH) == BLOCK


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine\n",
        "---\n",
        "\ufeffA: 1\n",
        "A: 1",
        "extensions: {} # e\nB: 1\n",
        "extensions:\nB: 1\n",
        "extensions: null # n\n",
        "extensions: ~\n",
        "extensions: {a: {b: 1}}\n",
        "extensions: {a: {b: 1},}\n",
        "extensions: {\n  # c\n}\n",
        "{}",
        "{a: 1}\n",
        "extensions: {machines: 1, b: 2}\n",
        "extensions: {b: 2, machines: [1,\n 2]}\n",
        "extensions:\n  machines: 1 # ours\n  z: 1\n",
        "x: &a {q: 1}\nextensions:\n  o: *a\n  p:\n    <<: *a\ny: 1",
        "? extensions\n: o: 1\n",
    ],
)
def test_every_style_of_mapping_can_be_edited(text: str) -> None:
    values = yaml.safe_load(text.removeprefix("\ufeff")) or {}
    new = set_entry(text, PATH, ENTRY)
    assert yaml.safe_load(new.removeprefix("\ufeff")) == with_entry(values)
    others = {name: value for name, value in (values.get("extensions") or {}).items() if name != "machines"}
    gone = remove_entry(new, PATH)
    assert yaml.safe_load(gone.removeprefix("\ufeff")) == values | {"extensions": others}
    for comment in ("# mine", "# e", "# n", "# c"):
        assert (comment in text) <= (comment in gone)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1", 2),
        ("a: 1\n\tb: 2", 2),
        ("a: b: c", 1),
        ("a: 1\na: 2", 2),
        ("a: *x", 1),
        ("a: 1\n---\nb: 1\n", 2),
        ("a: !!python/name:os.system x", 1),
        ("- a", 1),
        ("text", 1),
        ("a: 2026-99-99", 1),
        ("[" * 2000, 1),
        ("extensions:\n  - a", 1),
        ("a: 1\nextensions: x", 2),
    ],
)
def test_what_is_not_one_mapping_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(Unreadable) as refused:
        set_entry(text, PATH, ENTRY)
    assert refused.value.line == line

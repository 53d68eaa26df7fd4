"""Test that editing one TOML table preserves every other value and comment."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines_mcp.cli.client_configs.errors import Unreadable
from machines_mcp.cli.client_configs.toml_edit import read_values, remove_entry, set_entry

PATH = ("mcp_servers", "machines")
ENTRY: dict[str, Any] = {
    "command": "C:\\Programs\\machines-mcp.exe",
    "args": ["serve"],
    "startup_timeout_sec": 60,
    "env": {"MACHINES_ENV": "embedded", "MACHINES_USER_ID": 'é"'},
}
OURS = [
    '[mcp_servers.machines]\ncommand = "old" # ours\n\n[mcp_servers.machines.env]\nA = "1"\n',
    '[ mcp_servers . "machines" ]\nenv = { A = """\n# no comment\n[x]\n""" }\n',
    "[mcp_servers.machines]\nargs = [\n  'x',\n]\n[mcp_servers.'machines'.env]\n",
]
OTHERS = [
    '[mcp_servers.other] # mine\ncommand = "x"\n',
    "[mcp_servers.machines-2]\ncommand = 'y'\n",
    '[projects."/home/[mcp_servers.machines]"]\ntrust_level = "trusted"\n',
    'text.a = """\n[mcp_servers.machines]\n# in a text\n"""\n',
    "matrix.a = [\n  [1],\n[2],\n]\n",
    "[[profiles]]\nname = 1\n",
]
GAPS = st.sampled_from(["", "\n", "# about what follows\n", "\n# a\n\n# b\n"])


BLOCK = set_entry("", PATH, ENTRY)


def lines(text: str) -> list[str]:
    """Return the sorted lines, including comments. tomlkit may move a table next to others of its group."""
    return sorted(line for line in text.splitlines() if line)


few = settings(max_examples=40, deadline=None)


@st.composite
def configs(draw: st.DrawFn, ours: str = "") -> tuple[str, str]:
    """Draw a config with our table `ours` among others, and the same config without it."""
    chosen = draw(st.lists(st.sampled_from(OTHERS), unique=True))
    chosen.sort(key=lambda part: part.startswith("["))  # top-level keys come before any table
    first = next((at for at, part in enumerate(chosen) if part.startswith("[")), len(chosen))
    at = draw(st.integers(first, len(chosen)))
    parts = [draw(GAPS) + part for part in chosen]
    last = draw(GAPS)
    return "".join([*parts[:at], ours, *parts[at:], last]), "".join([*parts, last])


@few
@given(config=configs())
def test_an_insertion_goes_to_the_end_and_a_removal_undoes_it(config: tuple[str, str]) -> None:
    old, _ = config
    new = set_entry(old, PATH, ENTRY)
    assert new.startswith(old)
    assert read_values(new)["mcp_servers"]["machines"] == ENTRY
    assert read_values(new) == read_values(old) | {
        "mcp_servers": read_values(old).get("mcp_servers", {}) | {"machines": ENTRY}
    }
    assert lines(remove_entry(new, PATH)) == lines(old)
    assert remove_entry(old, PATH) == old


@pytest.mark.parametrize("ours", OURS)
@few
@given(data=st.data())
def test_a_different_table_is_replaced_and_the_rest_is_kept(ours: str, data: st.DataObject) -> None:
    old, rest = data.draw(configs(ours))
    new = set_entry(old, PATH, ENTRY)
    assert read_values(new) == read_values(rest) | {
        "mcp_servers": read_values(rest).get("mcp_servers", {}) | {"machines": ENTRY}
    }
    assert lines(new) == sorted(lines(rest) + lines(BLOCK))


@pytest.mark.parametrize("ours", OURS)
@few
@given(data=st.data())
def test_a_removal_keeps_all_other_tables_and_comments(ours: str, data: st.DataObject) -> None:
    old, rest = data.draw(configs(ours))
    new = remove_entry(old, PATH)
    assert read_values(new) == read_values(rest)
    assert lines(new) == lines(rest)


def test_a_comment_below_the_table_stays_below_its_replacement() -> None:
    others = '# about other\n[mcp_servers.other]\ncommand = "x" # theirs\n'
    assert set_entry(OURS[0] + "\n" + others, PATH, ENTRY) == BLOCK + "\n" + others
    assert remove_entry("a = 1\n\n" + OURS[0] + "\n" + others, PATH).split() == ("a = 1\n" + others).split()


def test_a_byte_order_mark_is_kept() -> None:
    new = set_entry("\ufeff" + OURS[0], PATH, ENTRY)
    assert new == "\ufeff" + BLOCK
    assert remove_entry(new + "[a]\nb = 1\n", PATH) == "\ufeff[a]\nb = 1\n"


@pytest.mark.parametrize(
    "text",
    [
        'mcp_servers = { other = { command = "x" } } # inline\n',
        '[mcp_servers]\n# two\nother.command = "x"\nmachines = { command = "old" }\n# tail\n',
        'mcp_servers.other.command = "x" # dotted\nmcp_servers.machines.command = "old"\n[z]\nk = 1 # z\n',
    ],
)
def test_inline_and_dotted_tables_are_edited(text: str) -> None:
    new = set_entry(text, PATH, ENTRY)
    assert read_values(new)["mcp_servers"] == {"other": {"command": "x"}, "machines": ENTRY}
    taken = remove_entry(new, PATH)
    assert read_values(taken)["mcp_servers"] == {"other": {"command": "x"}}
    for kept in (line for line in text.splitlines() if "#" in line):
        assert kept.split("#")[1] in new
        assert kept.split("#")[1] in taken


def test_line_endings_are_preserved() -> None:
    old = "a = 1\r\n"
    new = set_entry(old, PATH, ENTRY)
    assert "\n" not in new.replace("\r\n", "")
    assert remove_entry(new, PATH) == old


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb = \n", 2), ("[a\n", 1), ('a = 1\nb = """\n\n', 4), ("a = 1\na = 2\n", 2), ("mcp_servers = 1\n", 1)],
)
def test_invalid_toml_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(Unreadable) as refused:
        set_entry(text, PATH, ENTRY)
    assert refused.value.line == line

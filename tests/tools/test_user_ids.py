"""What no tool accepts as a user's id is refused by name wherever a person or a client names a user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import Context
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from machines_mcp.cli.main import main
from machines_mcp.protocol.arguments import validate
from machines_mcp.protocol.errors import ToolError
from machines_mcp.protocol.prompts import load_prompts
from machines_mcp.redaction.user_id import user_id_fault
from machines_mcp.server.settings import SettingsError
from machines_mcp.server.settings_reader import parse_user_id
from machines_mcp.tools.catalog import TOOLS
from tests.tools.test_absent_words import PLACEHOLDERS, WORDS

BAD = [*WORDS, *PLACEHOLDERS, "a\u202eb", "a\nb", "a\u200bb", " a", "a ", "a   b", "u" * 121, "\ue000"]
GOOD = ["user-1", "Null", "user-${1}", "50%", "日本", "u" * 120, "a b"]
EMPTY = {"MACHINES_ENV": "embedded"}
texts = pytest.mark.parametrize("text", [*BAD, *GOOD], ids=ascii)


def _commands(group: click.Group, *names: str) -> Iterator[list[str]]:
    """Yield the line of each command that takes a user."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, *names, name)
        elif any("--user" in parameter.opts for parameter in command.params):
            yield [*names, name]


COMMANDS = list(_commands(main))


def test_the_commands_that_take_a_user_were_found() -> None:
    assert sorted(COMMANDS) == [["audit", "show"], ["freeze"], ["unfreeze"]]


@texts
@pytest.mark.parametrize("line", COMMANDS, ids=" ".join)
def test_commands(line: list[str], text: str, tmp_path: Path) -> None:
    env = EMPTY | {"MACHINES_STATE_DIR": str(tmp_path)}
    # `=` keeps a value that begins with a dash apart from the option.
    found = Context().run(CliRunner().invoke, main, [*line, f"--user={text}"], env=env)
    if text in GOOD:
        assert found.exit_code == 0, found.output
        return
    assert (found.exit_code, found.output) == (2, f"--user {user_id_fault(text)}.\n")
    listed = Context().run(CliRunner().invoke, main, ["audit", "show"], env=env)
    assert listed.output == "No rows.\n"


@texts
def test_settings(text: str, tmp_path: Path) -> None:
    refused = _refusal(SettingsError, lambda: parse_user_id(text))
    assert refused == (f"MACHINES_USER_ID {user_id_fault(text)}." if text in BAD else None)
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\nenvironment = "embedded"\n', encoding="utf-8")
    policy.chmod(0o600)
    env = EMPTY | {"MACHINES_USER_ID": text}
    checked = Context().run(CliRunner().invoke, main, ["policy", "check", str(policy)], env=env)
    assert (checked.exit_code == 0) == (text in GOOD), checked.output


@texts
def test_policies(text: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    escaped = "".join(f"\\U{ord(letter):08x}" for letter in text)
    policy.write_text(f'version = 1\nenvironment = "embedded"\nusers = ["{escaped}"]\n', encoding="utf-8")
    policy.chmod(0o600)
    checked = Context().run(CliRunner().invoke, main, ["policy", "check", str(policy)], env=EMPTY)
    assert (checked.exit_code == 0) == (text in GOOD), checked.output
    assert text in GOOD or "users" in checked.output


@texts
def test_arguments(text: str) -> None:
    (tool,) = (tool for tool in TOOLS if tool.name == "get_balances")
    refused = _refusal(ToolError, lambda: validate(tool, {"user_id": text}, None))
    assert (refused is None) == (text in GOOD)


@texts
@pytest.mark.parametrize("name", load_prompts())
def test_prompts(name: str, text: str) -> None:
    prompt = load_prompts()[name]
    rendered = prompt.render({"user_id": text})
    # A prompt's arguments are typed by a person, so blanks around them mean nothing.
    if text.strip() in GOOD or user_id_fault(text.strip()) is None:
        assert text.strip() in rendered
        return
    assert text not in rendered
    assert f"(ask for the user id; the value that was given {user_id_fault(text)})" in rendered


@pytest.mark.parametrize("text", [*WORDS, *PLACEHOLDERS, "x\u202e", "x" * 201], ids=ascii)
def test_other_arguments_of_prompts(text: str) -> None:
    rendered = load_prompts()["issue_card"].render({"user_id": "user-1", "limit": text})
    assert text not in rendered
    assert "(ask for the limit; the value that was given" in rendered


def _refusal(kind: type[Exception], work: Callable[[], object]) -> str | None:
    try:
        work()
    except kind as error:
        return str(error)
    return None

"""Test that bad input ends in one sentence, and that Ctrl-C and a closed output end cleanly."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextvars import Context
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli.commands import run
from machines_mcp.cli.main import main
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
ID = "0123456789abcdef" * 2


def paths(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield from paths(command, *above, name) if isinstance(command, click.Group) else [(*above, name)]


ALL = list(paths(main))
BAD: list[tuple[str, ...]] = [
    ("nonsense",),
    ("call", "status", "{}", "\a"),
    ("sandbox", "--port", "0", "\a"),
    ("call",),
    ("call", "status", "{"),
    ("call", "status", "[]"),
    ("call", "status", "[" * 100_000),
    ("call", "status", "{}", "{}"),
    ("approve", "nonsense"),
    ("approve", ID[:-1]),
    ("approve", ID[:3]),
    ("approve", ID, "--json"),
    ("state", "forget", "user-1"),
    ("state", "forget", "", "--yes"),
    ("withdrawal",),
    ("withdrawal", "nonsense"),
    ("withdrawal", "wd_" + "0" * 32),
    ("withdrawal", "wd_" + "0" * 32, "--signature", "nonsense"),
    ("deny",),
    ("deny", "nonsense"),
    ("passphrase", "--json"),
    ("passphrase", "nonsense"),
    ("policy", "nonsense"),
    ("policy", "check"),
    ("policy", "check", "{folder}"),
    ("policy", "check", "{folder}/nothing.toml"),
    ("policy", "check", "{folder}/binary"),
    ("audit", "nonsense"),
    ("audit", "show", "--since", "nonsense"),
    ("audit", "show", "--since", "9" * 400),
    ("audit", "show", "--limit", "0"),
    ("audit", "show", "--kind", "nonsense"),
    ("audit", "verify", "--head", "{folder}"),
    ("audit", "verify", "--head", "{folder}/binary"),
    ("audit", "verify", "--write-head", "{folder}/nowhere/head"),
    ("keypair",),
    ("keypair", "{folder}"),
    ("keypair", "{folder}/nowhere/key"),
    ("unseal",),
    ("unseal", "{folder}/nothing", "x", "--json"),
    ("unseal", "{folder}/binary", "x", "--json"),
    ("unseal", "{folder}/binary", "x"),
    ("install",),
    ("install", "nonsense"),
    ("uninstall", "nonsense"),
    ("login", "nonsense"),
    ("logout", "nonsense"),
    ("completion",),
    ("completion", "tcsh"),
    ("sandbox", "extra"),
    ("sandbox", "--port", "nonsense"),
    ("sandbox", "--port", "70000"),
    ("sandbox", "--port", "0", "--db", "{folder}/nowhere/db"),
    ("sandbox", "--port", "0", "--db", "{folder}/binary"),
    *((*path, "--nonsense") for path in ALL),
]


def run_command(arguments: tuple[str, ...], folder: Path) -> Result:
    (folder / "binary").write_bytes(bytes(range(256)))
    given = [argument.replace("{folder}", str(folder)) for argument in arguments]
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder / "state")}
    return Context().run(CliRunner().invoke, main, given, env=env)


@pytest.mark.parametrize("arguments", BAD, ids=lambda arguments: " ".join(arguments)[:60])
def test_bad_input_is_reported_in_one_sentence(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = run_command(arguments, tmp_path)
    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, result.stdout) in ((1, ""), (2, ""))
    (line,) = result.stderr.splitlines()
    assert line.isprintable()
    assert line.endswith(".")


def test_a_question_is_followed_by_a_sentence(tmp_path: Path) -> None:
    shown = run_command(("status",), tmp_path).stderr
    # The oldest click that is allowed asks nothing.
    asked = "No such command 'status'. Did you mean 'state'? See main --help.\n"
    assert shown in {asked, "No such command 'status'; see main --help.\n"}


def test_every_command_with_arguments_has_a_bad_input_case() -> None:
    tried = {
        path for path in ALL for arguments in BAD if arguments[: len(path)] == path and "--nonsense" not in arguments
    }
    takes = {path for path in ALL if any(isinstance(found, click.Argument) for found in command(path).params)}
    assert takes <= tried


@pytest.mark.parametrize("group", [(), ("audit",), ("policy",), ("state",)], ids=" ".join)
def test_the_list_of_commands_cuts_no_sentence(tmp_path: Path, group: tuple[str, ...]) -> None:
    shown = run_command((*group, "--help"), tmp_path).stdout
    *_, commands = shown.partition("Commands:\n")
    assert commands and all(line.endswith(".") and not line.endswith("...") for line in commands.splitlines())


def test_a_group_without_a_command_lists_its_commands(tmp_path: Path) -> None:
    for group in ("policy", "audit"):
        result = run_command((group,), tmp_path)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "Commands:" in result.stderr


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_interrupted_command_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrapped: bool) -> None:
    def stop() -> None:
        if wrapped:
            raise BaseExceptionGroup("tasks", [BaseExceptionGroup("tasks", [KeyboardInterrupt()])])
        raise KeyboardInterrupt

    monkeypatch.setattr(run.demo, "callback", lambda as_json, withdraw: stop())
    result = run_command(("demo",), tmp_path)
    assert (result.exit_code, result.stdout, result.stderr.split()) == (130, "", ["Stopped."])


def test_another_error_in_a_closed_output_group_is_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> None:
        raise BaseExceptionGroup("tasks", [BrokenPipeError(), RuntimeError()])

    monkeypatch.setattr(run.demo, "callback", lambda as_json, withdraw: fail())
    assert isinstance(run_command(("demo",), tmp_path).exception, BaseExceptionGroup)


@pytest.mark.parametrize(
    "arguments",
    [
        ("tools",),
        pytest.param(("demo",), marks=pytest.mark.check),
        pytest.param(("demo", "--json"), marks=pytest.mark.check),
    ],
    ids=" ".join,
)
@pytest.mark.check
def test_a_command_with_a_closed_output_ends_quietly(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "machines_mcp", *arguments],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 1


def command(path: tuple[str, ...]) -> click.Command:
    found: click.Command = main
    for name in path:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return found


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
    return kept | {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder), "PYTHONPATH": str(ROOT)}

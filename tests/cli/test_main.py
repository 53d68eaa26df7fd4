"""Test the commands' output and exit codes (0 done, 1 a tool or check failed, 2 not attempted)."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from machines_mcp import __version__
from machines_mcp.cli.main import main
from machines_mcp.tools.catalog import TOOLS

CANARY = "canary-7f3a-9c21"
ID = "0123456789abcdef" * 2

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:

    def command(*arguments: str, **settings: str) -> Result:
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state")} | settings
        # In a new context: the tests' own one may say that an event loop is running, which the command must not see.
        return Context().run(CliRunner().invoke, main, list(arguments), env=env)

    return command


def _refusal(result: Result) -> str:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert CANARY not in result.stderr
    (line,) = result.stderr.splitlines()
    return line


COMMANDS = [("serve",), (), ("call", "status"), ("tools",), ("approve",), ("approve", ID), ("deny", ID)]
COMMANDS += [("passphrase",), ("passphrase", "--status")]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_invalid_settings_are_reported_in_one_sentence(run: Run, command: tuple[str, ...]) -> None:
    assert "MACHINES_ENV must be" in _refusal(run(*command, MACHINES_ENV=CANARY))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_unusable_state_folder_is_reported_in_one_sentence(
    run: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be", encoding="utf-8")
    assert "The state folder can't be used" in _refusal(run(*command))


def test_a_call_prints_its_structured_result(run: Run) -> None:
    result = run("call", "status")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["environment"] == "embedded"


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("status", {CANARY: CANARY}, "input.invalid"),
        ("status", {"\ud800": "\ud800"}, "input.invalid"),
        ("get_card", {"user_id": "\ud800", "card_id": float("nan")}, "input.invalid"),
        (CANARY, {}, "tool.unknown"),
    ],
)
def test_a_tool_error_is_printed_and_exits_with_1(run: Run, tool: str, arguments: dict[str, Any], code: str) -> None:
    result = run("call", tool, json.dumps(arguments))
    assert result.exit_code == 1
    assert json.loads(result.stdout)["code"] == code
    assert CANARY not in result.output


@pytest.mark.parametrize("arguments", ["", "{", "[]", "null", '"x"', CANARY, "[" * 100_000])
def test_arguments_that_are_not_a_json_object_are_refused(run: Run, arguments: str) -> None:
    assert "must be one JSON object" in _refusal(run("call", "status", arguments))


def test_approve_in_advance_works_only_with_the_simulator(run: Run) -> None:
    real = {"MACHINES_ENV": "sandbox", "MACHINES_PARTNER_KEY": "mk-0123456789", "MACHINES_USER_ID": "user-1"}
    refused = _refusal(run("call", "status", "--approve", **real))
    assert "--approve works with MACHINES_ENV=embedded only" in refused


def test_tools_are_listed_as_text_and_json(run: Run) -> None:
    rows = json.loads(run("tools", "--json").stdout)
    assert [row["tool"] for row in rows] == [tool.name for tool in TOOLS]
    shown = run("tools").stdout
    assert all(row["tool"] in shown for row in rows)


def test_a_failed_check_exits_with_1(run: Run) -> None:
    result = run("doctor", MACHINES_ENV=CANARY)
    assert result.exit_code == 1
    assert "FAIL  settings: MACHINES_ENV must be" in result.stdout
    assert CANARY not in result.output


@pytest.mark.check
def test_probe_results_are_printed_as_text_and_json(run: Run) -> None:
    result = run("doctor", "--probe")
    assert result.exit_code == 0
    assert "ok    GET /cards/{cardId}: 200\n" in result.stdout
    result = run("doctor", "--probe", "--json")
    assert result.exit_code == 0
    cards = next(row for row in json.loads(result.stdout) if row["what"] == "GET /cards/{cardId}")
    assert cards == {
        "ok": True,
        "what": "GET /cards/{cardId}",
        "says": "200",
        "status": 200,
        "missing": [],
        "mistyped": [],
        "extra": [],
    }


def test_unknown_input_is_a_usage_error(run: Run) -> None:
    for command in (("nonsense",), ("call",), ("install", "nonsense"), ("call", "status", "{}", "--nonsense")):
        assert run(*command).exit_code == 2


def test_the_version_is_the_package_version(run: Run) -> None:
    assert run("--version").stdout == f"machines-mcp, version {__version__}\n"

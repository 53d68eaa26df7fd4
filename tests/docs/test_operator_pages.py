"""The pages of commands and settings name all of them, and no others."""

from __future__ import annotations

import json
import re

import click

from machines_mcp.cli.main import main as program
from machines_mcp.server.settings_reader import VARIABLES
from tests.docs.pages import ROOT

FIRST_CELL = re.compile(r"^\| (`[^|]+) \|", re.MULTILINE)


def cells(page: str) -> list[str]:
    return FIRST_CELL.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))


def test_the_settings_page_lists_every_setting() -> None:
    assert {name for cell in cells("settings.md") for name in re.findall(r"`(MACHINES_\w+)`", cell)} == VARIABLES


def test_the_commands_page_lists_every_command() -> None:
    context = click.Context(program)
    known = set(program.list_commands(context)) - {"serve"}
    assert {word for cell in cells("commands.md") for word in re.findall(r"`(?:machines-mcp )?(\w+)", cell)} >= known


def test_every_listed_command_exists() -> None:
    context = click.Context(program)
    named = {word for cell in cells("commands.md") for word in re.findall(r"`machines-mcp (\w+)", cell)}
    assert named <= set(program.list_commands(context))


def test_the_production_page_starts_one_script_everywhere() -> None:
    page = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    entry = json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0])["mcpServers"]["machines"]
    script, command = entry["args"][-2:]
    assert command == "serve"
    assert f"alice ALL=(machines) NOPASSWD: {script} serve\n" in page
    assert f"ExecStart={script} desk\n" in page
    assert f"`{script}`" in page


def test_the_production_page_has_the_policy_before_the_commands_that_need_it() -> None:
    page = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    policy = page.index("\nsudo install -m 644 examples/policy-production.toml")
    assert all(policy < page.index(f"\nmachines-production {command}") for command in ("login", "passphrase", "doctor"))

"""Clients from npm read the configs that `machines-mcp install` writes, and load the plugin."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from machines_mcp.cli.client_configs.clients import CLIENTS, System, config_path
from machines_mcp.cli.client_configs.entry import command
from machines_mcp.cli.client_configs.install import install
from machines_mcp.cli.doctor.clients import clients
from tests.peers.npm import node_command

# The clients are 760 MB.
pytestmark = [pytest.mark.check, pytest.mark.long]

DISTRIBUTION = Path(__file__).parents[2] / "distribution"
RUN_SECONDS = 120
JSON = '{"mcpServers": {"other": {"command": "/nowhere/x", "args": []}}}\n'
BEFORE = {
    "claude-code": JSON,
    "gemini-cli": "// mine\n" + JSON,
    "codex": '# mine\nmodel = "m"\n\n[mcp_servers.other]\ncommand = "/nowhere/x"\n',
}
# What an editor could do to the file afterwards.
CHANGES = {
    "comment": ("{", "// mine\n{"),
    "trailing-comma": ('"embedded"', '"embedded",'),
    "bom": ("", "\ufeff"),
    "broken": ('"args"', "args"),
}

Run = Callable[..., str]


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System("linux", {"HOME": str(tmp_path)})


@pytest.fixture
def run(client_modules: Path, tmp_path: Path) -> Run:
    """Return a function that runs a client in an empty home without a network, and returns what it printed."""
    # The packages' own launchers are written by scripts, which don't run here.
    claude = min(client_modules.glob("@anthropic-ai/claude-code-*/claude"))
    codex = min(client_modules.glob("@openai/codex-*/vendor/*/bin/codex"))
    node = node_command(client_modules)
    programs = {
        "claude-code": [str(claude)],
        "codex": [str(codex)],
        "gemini-cli": node(client_modules / "@google/gemini-cli/bundle/gemini.js"),
    }
    nowhere = "http://127.0.0.1:9"
    env = {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([str(Path(command()[0]).parent), os.environ["PATH"]]),
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        "GEMINI_TELEMETRY_ENABLED": "false",
    }

    def finished(name: str, *arguments: str) -> str:
        done = subprocess.run(
            [*programs[name], *arguments],
            cwd=tmp_path,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_SECONDS,
        )
        return done.stdout

    return finished


def listed(run: Run, name: str) -> str:
    """Return the line of the client's list of servers that is ours; empty if there is none."""
    lines = run(name, "mcp", "list").splitlines()
    return next((line for line in lines if "machines" in line and command()[0] in line), "")


@pytest.mark.parametrize("name", BEFORE)
def test_the_client_starts_the_server_beside_the_others(run: Run, system: System, name: str) -> None:
    path = config_path(CLIENTS[name], system)
    path.parent.mkdir(exist_ok=True)
    path.write_text(BEFORE[name], encoding="utf-8")
    install(CLIENTS[name], path, {})
    assert "/nowhere/x" in run(name, "mcp", "list")
    line = listed(run, name)
    # Codex lists servers without starting them.
    assert ("enabled" if name == "codex" else "Connected") in line


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["claude-code", "gemini-cli"])
def test_what_the_doctor_passes_the_client_reads(run: Run, system: System, name: str, change: str) -> None:
    path = config_path(CLIENTS[name], system)
    install(CLIENTS[name], path, {})
    text = path.read_text(encoding="utf-8").replace(*CHANGES[change], 1)
    path.write_text(text, encoding="utf-8")
    passes, reads = clients(system).ok, bool(listed(run, name))
    assert reads or not passes
    # This version of Claude Code reads a byte order mark; older ones and Claude Desktop don't.
    assert passes == reads or (name, change) == ("claude-code", "bom")


def test_codex_installs_the_plugin(run: Run, tmp_path: Path) -> None:
    run("codex", "plugin", "marketplace", "add", str(DISTRIBUTION))
    run("codex", "plugin", "add", "machines-mcp@machines")
    assert "installed, enabled" in run("codex", "plugin", "list")
    (server,) = (line for line in run("codex", "mcp", "list").splitlines() if line.startswith("machines"))
    assert "machines-mcp" in server
    assert list(tmp_path.glob(".codex/plugins/**/skills/machines-cards/SKILL.md"))


def test_claude_code_installs_the_plugin_and_starts_its_server(run: Run) -> None:
    for folder in (DISTRIBUTION, DISTRIBUTION / "plugin"):
        assert "Validation passed" in run("claude-code", "plugin", "validate", str(folder))
    run("claude-code", "plugin", "marketplace", "add", str(DISTRIBUTION))
    run("claude-code", "plugin", "install", "machines-mcp@machines")
    assert "machines-cards" in run("claude-code", "plugin", "details", "machines-mcp@machines")
    (server,) = (line for line in run("claude-code", "mcp", "list").splitlines() if "machines-mcp" in line)
    assert "Connected" in server

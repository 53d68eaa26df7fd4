"""Test the doctor's findings about the partner key and the clients, and that they fit on a screen."""

from __future__ import annotations

import json
from contextvars import Context
from pathlib import Path

import pytest
from click.testing import CliRunner

from machines_mcp.cli.client_configs.clients import CLIENTS, System, config_path, this_system
from machines_mcp.cli.client_configs.install import install
from machines_mcp.cli.doctor.clients import clients, partner_key
from machines_mcp.cli.main import main
from machines_mcp.server.settings_reader import read_settings
from tests.cli.client_configs import readers

KEY = "mk-canary-0123456789"
SANDBOX = {"MACHINES_ENV": "sandbox", "MACHINES_USER_ID": "user-1"}


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return System("linux", {"HOME": str(tmp_path)})


def _install(system: System, name: str) -> Path:
    path = config_path(CLIENTS[name], system)
    install(CLIENTS[name], path, {})
    return path


def test_a_machine_without_configured_clients_passes(system: System) -> None:
    config_path(CLIENTS["cursor"], system).parent.mkdir()
    config_path(CLIENTS["cursor"], system).write_text('{"mcpServers": {}}', encoding="utf-8")
    finding = clients(system)
    assert finding.ok
    assert finding.message == "no client is configured yet; run machines-mcp install CLIENT"


def test_each_client_that_starts_this_server_is_named(system: System, tmp_path: Path) -> None:
    _install(system, "codex")
    path = _install(system, "vscode")
    other = tmp_path / "other-machines-mcp"
    other.touch(mode=0o755)
    text = path.read_text(encoding="utf-8")
    found = clients(system)
    assert (found.ok, found.message) == (True, "VS Code and Codex start this server")

    command = next(line for line in text.splitlines() if '"command"' in line)
    path.write_text(text.replace(command, f'"command": "{other.as_posix()}",'), encoding="utf-8")
    found = clients(system)
    assert (found.ok, found.message) == (True, f"Codex starts this server; VS Code starts a different copy: {other}")
    assert found.detail == {"clients": {"vscode": "other", "codex": "ours"}}


@pytest.mark.parametrize("gone", ["/nowhere/machines-mcp", "machines-mcp", "", None, 7])
def test_a_client_with_a_missing_command_fails(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: object
) -> None:
    # A desktop program does not search the shell's PATH.
    (tmp_path / "machines-mcp").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    _install(system, "codex")
    path = _install(system, "cursor")
    held = json.loads(path.read_text(encoding="utf-8"))
    held["mcpServers"]["machines"]["command"] = gone
    path.write_text(json.dumps(held), encoding="utf-8")
    finding = clients(system)
    assert not finding.ok
    named = gone if isinstance(gone, str) and gone else "no absolute path"
    assert finding.message == f"Cursor runs a command that does not exist: {named}; run machines-mcp install cursor"


def test_an_unreadable_config_without_our_entry_is_named_and_passes(system: System) -> None:
    path = _install(system, "codex")
    path.write_text(f"a = {KEY}", encoding="utf-8")
    finding = clients(system)
    assert (finding.ok, finding.message) == (True, f"Codex can't read its config: {path}, line 1: invalid TOML")
    path.write_bytes(b"\xff machines")
    finding = clients(system)
    assert (finding.ok, finding.message) == (True, f"Codex can't read its config: {path}")


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("", "// mine\n", "a comment, which this client can't read"),
        (",", ", // mine", "a comment, which this client can't read"),
        ('"embedded"', '"embedded",', "a trailing comma, which this client can't read"),
        ("", "\ufeff", "a byte order mark, which this client can't read; machines-mcp install removes it"),
    ],
    ids=["comment-above", "comment-behind", "trailing-comma", "bom"],
)
@pytest.mark.parametrize("name", [name for name in CLIENTS if name not in ("codex", "goose")])
def test_the_doctor_passes_what_the_client_reads(
    system: System, name: str, before: str, after: str, fault: str
) -> None:
    path = _install(system, name)
    text = path.read_text(encoding="utf-8").replace(before, after, 1)
    path.write_text(text, encoding="utf-8")
    finding = clients(system)
    try:
        readers.read(name, text)
    except ValueError:
        line = text.count("\n", 0, text.index(after.strip())) + 1
        assert finding.message == f"{CLIENTS[name].title} can't read its config: {path}, line {line}: {fault}"
        assert (finding.ok, finding.detail) == (False, {"clients": {name: "unreadable"}})
    else:
        assert (finding.ok, finding.message) == (True, f"{CLIENTS[name].title} starts this server")


def test_the_source_of_the_key_is_named_without_the_key(system: System, tmp_path: Path) -> None:
    assert partner_key(read_settings({})) == []
    file = tmp_path / "partner.key"
    file.write_text(KEY, encoding="ascii")
    file.chmod(0o600)
    stored = tmp_path / "config" / "machines-mcp" / "keys" / "sandbox.key"
    stored.parent.mkdir(parents=True)
    stored.write_text(KEY, encoding="ascii")
    stored.chmod(0o600)
    for env, says in (
        ({"MACHINES_PARTNER_KEY": KEY}, "from MACHINES_PARTNER_KEY"),
        ({"MACHINES_PARTNER_KEY_FILE": str(file)}, f"from MACHINES_PARTNER_KEY_FILE, {file}"),
        ({}, f"from {stored}, stored by machines-mcp login"),
    ):
        (finding,) = partner_key(read_settings(SANDBOX | env))
        assert (finding.ok, finding.message) == (True, says)
        assert KEY not in repr(finding)


@pytest.mark.parametrize("settings", [{}, SANDBOX | {"MACHINES_PARTNER_KEY": KEY}], ids=["embedded", "sandbox"])
@pytest.mark.check
def test_the_findings_fit_on_a_screen(system: System, tmp_path: Path, settings: dict[str, str]) -> None:
    system = this_system()
    for name in CLIENTS:
        _install(system, name)
    # A loopback port without a listener. The doctor contacts no other address.
    local = {"MACHINES_API_URL": "http://127.0.0.1:9/partner/v1"} if settings else {}
    env = {"MACHINES_STATE_DIR": str(tmp_path / "state")} | settings | local
    result = Context().run(CliRunner().invoke, main, ["doctor"], env=env)
    lines = result.stdout.splitlines()
    assert "clients: Claude Desktop, Claude Code, Cursor, VS Code, Codex, Gemini CLI, Zed, Goose" in result.stdout
    assert 12 < len(lines) <= 26
    *lines, empty, verdict = lines
    assert (empty, verdict.split(":")[0].split(",")[0]) == ("", "Ready" if result.exit_code == 0 else "Not ready")
    assert not [line for line in lines if len(line) > 100 and str(tmp_path) not in line]
    assert {line[:6] for line in lines} <= {"ok    ", "WARN  ", "FAIL  ", "      "}
    assert KEY not in result.stdout

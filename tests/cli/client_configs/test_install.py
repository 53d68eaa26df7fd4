"""Test `machines-mcp install` and `uninstall`: what they change, keep, print and refuse."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli.client_configs import jsonc_edit
from machines_mcp.cli.client_configs.clients import CLIENTS, System, config_path
from machines_mcp.cli.client_configs.entry import command
from machines_mcp.cli.main import main

KEY = "mk-canary-0123456789"

Run = Callable[..., Result]

JSON = '{\n    // mine\n    "GROUP": {\n        "other": {"command": "x"}, // theirs\n    },\n    "more": [1,2]\n}\n'
TOML = '# mine\nmodel = "m"\n\n[mcp_servers.other] # theirs\ncommand = "x"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_CONFIG_HOME", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> Run:
    def command(*arguments: str, **settings: str) -> Result:
        result: Result = Context().run(CliRunner().invoke, main, list(arguments), env=settings)
        assert KEY not in result.output
        return result

    return command


def path_of(name: str) -> Path:
    return config_path(CLIENTS[name], System(sys.platform, os.environ))


def config(name: str) -> str:
    return TOML if name == "codex" else JSON.replace("GROUP", CLIENTS[name].servers_key)


def write_config(name: str) -> Path:
    path = path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config(name), encoding="utf-8", newline="")
    return path


def backups(path: Path) -> list[Path]:
    return list(path.parent.glob(f"{path.name}.*.bak"))


def servers(name: str, text: str) -> Any:
    values = tomllib.loads(text) if name == "codex" else jsonc_edit.read_values(text)
    return values[CLIENTS[name].servers_key]


@pytest.mark.parametrize("name", CLIENTS)
def test_install_and_uninstall_keep_the_rest_of_every_config(run: Run, name: str) -> None:
    path = write_config(name)
    result = run("install", name)
    assert (result.exit_code, result.stderr) == (0, "")
    (backup,) = backups(path)
    assert str(path) in result.stdout
    assert str(backup) in result.stdout
    assert backup.read_text(encoding="utf-8") == config(name)
    new = path.read_text(encoding="utf-8")
    assert servers(name, new)["other"] == {"command": "x"}
    assert [servers(name, new)["machines"]["command"], *servers(name, new)["machines"]["args"]] == [*command(), "serve"]
    for line in config(name).splitlines():
        assert line in new

    again = run("install", name)
    assert (again.exit_code, again.stdout) == (0, f"{path} already has this entry. Nothing was changed.\n")
    assert backups(path) == [backup]

    gone = run("uninstall", name)
    assert gone.exit_code == 0
    assert f"Removed machines-mcp from {path}." in gone.stdout
    assert path.read_text(encoding="utf-8") == config(name)
    assert len(backups(path)) == 2

    nothing = run("uninstall", name)
    assert (nothing.exit_code, nothing.stdout) == (0, f"{path} has no entry named machines. Nothing was changed.\n")
    assert len(backups(path)) == 2


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_without_a_config_gets_one(run: Run, name: str) -> None:
    result = run("install", name)
    assert result.exit_code == 0
    assert "Backup" not in result.stdout
    assert set(servers(name, path_of(name).read_text(encoding="utf-8"))) == {"machines"}
    assert backups(path_of(name)) == []
    assert run("uninstall", name).exit_code == 0


@pytest.mark.parametrize("name", CLIENTS)
def test_a_different_entry_is_replaced_and_reported(run: Run, name: str) -> None:
    run("install", name)
    result = run("install", name, MACHINES_USER_ID="user-1")
    assert "replacing another entry named machines" in result.stdout
    (backup,) = backups(path_of(name))
    assert "user-1" not in backup.read_text(encoding="utf-8")
    found = servers(name, path_of(name).read_text(encoding="utf-8"))["machines"]
    assert found["env"] == {"MACHINES_ENV": "embedded", "MACHINES_USER_ID": "user-1"}


@pytest.mark.parametrize("name", CLIENTS)
def test_print_writes_no_file(run: Run, home: Path, name: str) -> None:
    result = run("install", name, "--print")
    assert result.exit_code == 0
    assert result.stderr == f"For {path_of(name)}:\n"
    assert set(servers(name, result.stdout)) == {"machines"}
    assert not home.exists()


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_an_unreadable_config_is_reported_with_its_line_and_kept(run: Run, verb: str, name: str) -> None:
    path = write_config(name)
    broken = config(name).replace('"x"', KEY)
    path.write_text(broken, encoding="utf-8")
    result = run(verb, name)
    assert (result.exit_code, result.stdout) == (2, "")
    line = 5 if name == "codex" else 4
    assert result.stderr.startswith(f"{path}, line {line}: ")
    assert result.stderr.endswith("Nothing was changed. Fix the file and try again.\n")
    assert path.read_text(encoding="utf-8") == broken
    assert backups(path) == []


def test_a_partner_key_is_never_written(run: Run, home: Path, tmp_path: Path) -> None:
    real = {"MACHINES_ENV": "sandbox", "MACHINES_USER_ID": "user-1", "MACHINES_STATE_DIR": str(tmp_path / "state")}
    refused = run("install", "cursor", MACHINES_PARTNER_KEY=KEY, **real)
    assert refused.exit_code == 2
    assert "MACHINES_PARTNER_KEY is not written to a config" in refused.stderr
    assert not home.exists()

    file = tmp_path / "partner.key"
    file.write_text(KEY, encoding="ascii")
    file.chmod(0o600)
    taken = run("install", "cursor", MACHINES_PARTNER_KEY_FILE=str(file), **real)
    assert taken.exit_code == 0
    assert "No passphrase is set" in taken.stdout
    text = path_of("cursor").read_text(encoding="utf-8")
    assert servers("cursor", text)["machines"]["env"] == real | {"MACHINES_PARTNER_KEY_FILE": str(file)}
    assert KEY not in text


def test_invalid_server_settings_are_not_installed(run: Run, home: Path) -> None:
    result = run("install", "cursor", MACHINES_ENV="sandbox")
    assert result.exit_code == 2
    assert "needs MACHINES_PARTNER_KEY" in result.stderr
    assert not home.exists()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("claude-code", ".mcp.json"),
        ("cursor", ".cursor/mcp.json"),
        ("vscode", ".vscode/mcp.json"),
        ("codex", ".codex/config.toml"),
    ],
)
def test_a_project_config_is_in_the_project_folder(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("install", name, "--project").exit_code == 0
    assert set(servers(name, (tmp_path / path).read_text(encoding="utf-8"))) == {"machines"}
    assert not home.exists()
    assert "Removed machines-mcp from" in run("uninstall", name, "--project").stdout


def test_claude_desktop_has_no_project_config(run: Run) -> None:
    result = run("install", "claude-desktop", "--project")
    assert (result.exit_code, result.stderr) == (
        2,
        "Claude Desktop has no config for a project. Run the command without --project.\n",
    )

"""Test `machines-mcp install` and `uninstall`: what they change, keep, print and refuse."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli.client_configs.clients import CLIENTS, System, config_path
from machines_mcp.cli.client_configs.entry import command
from machines_mcp.cli.main import main
from tests.cli.client_configs import readers
from tests.cli.client_configs.readers import NO_BOM, STRICT

KEY = "mk-canary-0123456789"

Run = Callable[..., Result]
FOLDERS = ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME", "GOOSE_PATH_ROOT")

BOM = "\ufeff"
JSON = '{\n    "GROUP": {\n        "other": {"command": "x"}\n    },\n    "more": [1,2]\n}\n'
JSONC = '{\n    // mine\n    "GROUP": {\n        "other": {"command": "x"}, // theirs\n    },\n    "more": [1,2]\n}\n'
COMMENTED = JSONC.replace("}, // theirs", "} // theirs").replace("    },", "    }, /* mine */")
YAML = "# mine\nGOOSE_MODEL: m\nextensions:\n  other: # theirs\n    cmd: x\n    args:\n    - 'y'\n# mine\nmore: [1,2]\n"
TOML = '# mine\nmodel = "m"\n\n[mcp_servers.other] # theirs\ncommand = "x"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in (
        "CLAUDE_CONFIG_DIR",
        "CODEX_HOME",
        "GEMINI_CLI_HOME",
        "XDG_CONFIG_HOME",
        "APPDATA",
        "LOCALAPPDATA",
    ):
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
    special = {"codex": TOML, "goose": YAML, "gemini-cli": COMMENTED}
    return special.get(name, JSON if name in STRICT else JSONC).replace("GROUP", CLIENTS[name].servers_key)


def write_config(name: str) -> Path:
    path = path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config(name), encoding="utf-8", newline="")
    return path


def backups(path: Path) -> list[Path]:
    return list(path.parent.glob(f"{path.name}.*.bak"))


def servers(name: str, text: str) -> Any:
    return readers.read(name, text)[CLIENTS[name].servers_key]


def started(name: str, entry: dict[str, Any]) -> list[str]:
    """Return the command that the client runs for this entry."""
    return [entry["cmd" if name == "goose" else "command"], *entry["args"]]


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
    assert servers(name, new)["other"] == servers(name, config(name))["other"]
    assert started(name, servers(name, new)["machines"]) == [*command(), "serve"]
    for line in config(name).splitlines():
        assert line.replace(",", "") in new.replace(",", "")

    again = run("install", name)
    assert (again.exit_code, again.stdout) == (0, f"{path} already has this entry. Nothing was changed.\n")
    assert backups(path) == [backup]

    gone = run("uninstall", name)
    assert gone.exit_code == 0
    assert f"Removed machines-mcp from {path}. Restart {CLIENTS[name].title}. Backup: " in gone.stdout
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
    gone = run("uninstall", name)
    assert (gone.exit_code, str(path_of(name)) in gone.stdout) == (0, True)
    assert not path_of(name).exists() and backups(path_of(name)) == []


NOT_OURS = [(name, why) for name in CLIENTS for why in ("another key", "a backup", "a link")]
NOT_OURS += [(name, "a comment") for name in CLIENTS if name not in STRICT]


@pytest.mark.parametrize(("name", "why"), NOT_OURS)
def test_uninstall_keeps_a_file_that_install_did_not_make(run: Run, name: str, why: str) -> None:
    path = path_of(name)
    if why == "a backup":
        path.parent.mkdir(parents=True)
        path.write_text("", encoding="utf-8")
    assert run("install", name).exit_code == 0
    text = path.read_text(encoding="utf-8")
    if why == "a comment":
        path.write_text(f"{'#' if name in ('codex', 'goose') else '//'} mine\n{text}", encoding="utf-8")
    if why == "another key":
        other = {"codex": "\n[other]\na = 1\n", "goose": "other: 1\n"}.get(name)
        path.write_text(text + other if other else text.replace("{", '{"other": 1,', 1), encoding="utf-8")
    if why == "a link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to(path.with_name("elsewhere"))
    gone = run("uninstall", name)
    assert gone.exit_code == 0 and "Backup: " in gone.stdout
    assert path.exists()


@pytest.mark.parametrize("name", CLIENTS)
def test_a_different_entry_is_replaced_and_reported(run: Run, name: str) -> None:
    run("install", name)
    result = run("install", name, MACHINES_USER_ID="user-1")
    assert "replacing another entry named machines" in result.stdout
    (backup,) = backups(path_of(name))
    assert "user-1" not in backup.read_text(encoding="utf-8")
    found = servers(name, path_of(name).read_text(encoding="utf-8"))["machines"]
    settings = found["envs" if name == "goose" else "env"]
    assert settings == {"MACHINES_ENV": "embedded", "MACHINES_USER_ID": "user-1"}


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
    broken = config(name).replace("cmd: x" if name == "goose" else '"x"', f"a: {KEY}: b" if name == "goose" else KEY)
    path.write_text(broken, encoding="utf-8")
    result = run(verb, name)
    assert (result.exit_code, result.stdout) == (2, "")
    line = broken.count("\n", 0, broken.index(KEY)) + 1
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
        ("gemini-cli", ".gemini/settings.json"),
        ("zed", ".zed/settings.json"),
    ],
)
def test_a_project_config_is_in_the_project_folder(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("install", name, "--project").exit_code == 0
    assert set(servers(name, (tmp_path / path).read_text(encoding="utf-8"))) == {"machines"}
    assert not home.exists()
    assert "which install made" in run("uninstall", name, "--project").stdout
    assert not (tmp_path / path).exists() and backups(tmp_path / path) == []


@pytest.mark.parametrize("name", ["claude-desktop", "goose", "windsurf"])
def test_a_client_without_project_configs_says_so(run: Run, name: str) -> None:
    result = run("install", name, "--project")
    assert (result.exit_code, result.stderr) == (
        2,
        f"{CLIENTS[name].title} has no config for a project. Run the command without --project.\n",
    )


# What plain JSON does not have, with the line that each is in.
NOT_STRICT = [
    ('{\n  "more": 1 // why\n}\n', 2, "a comment"),
    ('/* mine */\n{"more": 1}\n', 1, "a comment"),
    ('{\n  "more": [\n    1,\n  ]\n}\n', 3, "a trailing comma"),
    ('{\n  "more": 1,\n}\n', 2, "a trailing comma"),
]


@pytest.mark.parametrize("verb", ["install", "uninstall"])
@pytest.mark.parametrize(("text", "line", "what"), NOT_STRICT)
@pytest.mark.parametrize("name", CLIENTS)
def test_what_a_client_cannot_read_is_refused_by_its_line(
    run: Run, name: str, text: str, line: int, what: str, verb: str
) -> None:
    path = path_of(name)
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    result = run(verb, name)
    try:
        readers.read(name, text)
    except ValueError:
        assert result.exit_code == 2
        assert path.read_text(encoding="utf-8") == text
        if name not in ("codex", "goose"):
            says = f"{path}, line {line}: {what}, which this client can't read. Nothing was changed."
            assert result.stderr == f"{says} Fix the file and try again.\n"
    else:
        assert result.exit_code == 0
        new = path.read_text(encoding="utf-8")
        assert readers.read(name, new)["more"] == readers.read(name, text)["more"]


@pytest.mark.parametrize("name", CLIENTS)
def test_a_byte_order_mark_is_removed_for_clients_that_cannot_read_it(run: Run, name: str) -> None:
    path = write_config(name)
    path.write_text(BOM + config(name), encoding="utf-8")
    says = f" Removed the byte order mark, which {CLIENTS[name].title} can't read."
    removes = name in NO_BOM
    result = run("install", name)
    assert (result.exit_code, says in result.stdout) == (0, removes)
    (backup,) = backups(path)
    assert backup.read_text(encoding="utf-8") == BOM + config(name)
    new = path.read_text(encoding="utf-8")
    assert new.startswith(BOM) is not removes
    assert set(servers(name, new.removeprefix(BOM))) == {"other", "machines"}

    # An editor puts it back.
    path.write_text(BOM + new.removeprefix(BOM), encoding="utf-8")
    again = run("install", name)
    assert says in again.stdout if removes else "Nothing was changed" in again.stdout
    assert "replacing another entry" not in again.stdout
    path.write_text(BOM + new.removeprefix(BOM), encoding="utf-8")
    gone = run("uninstall", name)
    assert (gone.exit_code, says in gone.stdout) == (0, removes)
    assert path.read_text(encoding="utf-8").removeprefix(BOM) == config(name)


def test_without_an_entry_uninstall_leaves_a_byte_order_mark(run: Run) -> None:
    path = write_config("claude-desktop")
    path.write_text(BOM + config("claude-desktop"), encoding="utf-8")
    assert "Nothing was changed" in run("uninstall", "claude-desktop").stdout
    assert path.read_text(encoding="utf-8").startswith(BOM)


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        # A line below the last one would become part of its value.
        ("install", "extensions:\n  other: |\n    text"),
        ("uninstall", "? extensions\n: machines: 1\n"),
        ("install", "extensions: &all\n  machines: 1\ncopy: *all\n"),
        ("uninstall", "extensions: &all\n  machines: 1\ncopy: *all\n"),
        ("install", "a: 1\n...\n"),
    ],
)
def test_an_edit_that_would_change_more_than_the_entry_is_refused(run: Run, verb: str, text: str) -> None:
    path = path_of("goose")
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    result = run(verb, "goose")
    says = f"{path} can't be edited automatically. Paste the output of --print into it.\n"
    assert (result.exit_code, result.stderr) == (2, says)
    assert path.read_text(encoding="utf-8") == text
    assert backups(path) == []

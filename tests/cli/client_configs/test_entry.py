"""Test our entry in a client's config: it never contains a key, and uses only absolute paths."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.cli.client_configs.clients import CLIENTS
from machines_mcp.cli.client_configs.entry import command, config_block, entry
from machines_mcp.cli.client_configs.errors import ConfigError
from tests.cli.client_configs import readers

KEY = "mk-canary-0123456789"
STDIO = {"type": "stdio"}
FIELDS: dict[str, dict[str, Any]] = {
    "claude-code": STDIO,
    "cursor": STDIO,
    "vscode": STDIO,
    "codex": {"startup_timeout_sec": 60, "tool_timeout_sec": 180},
    "gemini-cli": {"timeout": 180_000},
    "goose": STDIO
    | {"enabled": True, "name": "machines", "description": "Machines Cash accounts, payments and cards"}
    | {"timeout": 180},
}
"""What each client's documentation asks for, besides the command, its arguments and its environment."""


@pytest.mark.parametrize("name", CLIENTS)
def test_the_config_block_has_the_clients_format(name: str) -> None:
    client = CLIENTS[name]
    held = readers.read(name, config_block(name, {}, ["/opt/machines-mcp"]))
    groups = {"vscode": "servers", "codex": "mcp_servers", "zed": "context_servers", "goose": "extensions"}
    ((group, servers),) = held.items()
    assert group == groups.get(name, "mcpServers")
    assert servers == {"machines": entry(client, {}, ["/opt/machines-mcp"])}
    assert servers["machines"] == FIELDS.get(name, {}) | {
        "cmd" if name == "goose" else "command": "/opt/machines-mcp",
        "args": ["serve"],
        "envs" if name == "goose" else "env": {"MACHINES_ENV": "embedded"},
    }


def test_settings_are_copied_with_absolute_paths() -> None:
    env = {
        "MACHINES_ENV": "sandbox",
        "MACHINES_PARTNER_KEY_FILE": "keys/partner.key",
        "MACHINES_USER_ID": "user-1",
        "MACHINES_TOOLSETS": "cards",
        "MACHINES_READ_ONLY": "",
        "HOME": "/home/ann",
    }
    assert entry(CLIENTS["cursor"], env)["env"] == {
        "MACHINES_ENV": "sandbox",
        "MACHINES_PARTNER_KEY_FILE": str(Path("keys/partner.key").absolute()),
        "MACHINES_USER_ID": "user-1",
        "MACHINES_TOOLSETS": "cards",
    }


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"MACHINES_PARTNER_KEY": KEY}, "MACHINES_PARTNER_KEY is not written to a config"),
        ({"MACHINES_PROXY": f"http://user:{KEY}@proxy:1"}, "MACHINES_PROXY contains a password"),
        ({"MACHINES_USER_ID": f"${{{KEY}}}"}, "MACHINES_USER_ID contains $,"),
        ({"MACHINES_USER_ID": "$HOME"}, "MACHINES_USER_ID contains $,"),
    ],
)
def test_settings_with_secrets_or_placeholders_are_refused(env: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        entry(CLIENTS["vscode"], {"MACHINES_ENV": "sandbox"} | env)
    assert says in str(refused.value)
    assert KEY not in str(refused.value)


def test_the_command_is_the_installed_script_or_else_this_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    script = "machines-mcp.exe" if os.name == "nt" else "machines-mcp"
    assert command() == [str(tmp_path / "python"), "-m", "machines_mcp"]
    (tmp_path / script).touch()
    assert command() == [str(tmp_path / script)]

"""Test our entry in a client's config: it never contains a key, and uses only absolute paths."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path

import pytest

from machines_mcp.cli.client_configs.clients import CLIENTS
from machines_mcp.cli.client_configs.entry import command, config_block, entry
from machines_mcp.cli.client_configs.errors import ConfigError

KEY = "mk-canary-0123456789"


@pytest.mark.parametrize("name", CLIENTS)
def test_the_config_block_has_the_clients_format(name: str) -> None:
    client = CLIENTS[name]
    text = config_block(name, {}, ["/opt/machines-mcp"])
    held = tomllib.loads(text) if name == "codex" else json.loads(text)
    (group,) = held
    (found,) = held[group].items()
    assert group == {"vscode": "servers", "codex": "mcp_servers"}.get(name, "mcpServers")
    assert found == ("machines", entry(client, {}, ["/opt/machines-mcp"]))
    assert found[1]["command"] == "/opt/machines-mcp"
    assert (found[1]["args"], found[1]["env"]) == (["serve"], {"MACHINES_ENV": "embedded"})
    assert found[1].get("type") == (None if name in ("claude-desktop", "codex") else "stdio")
    assert ("startup_timeout_sec" in found[1]) is (name == "codex")


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
        ({"MACHINES_USER_ID": f"${{{KEY}}}"}, "MACHINES_USER_ID contains ${"),
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

"""Our entry in a client's config, without keys. Paths are absolute: desktop programs lack the shell's PATH."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from machines_mcp.cli.client_configs.clients import CLIENTS, NAME, Client
from machines_mcp.cli.client_configs.editors import editor
from machines_mcp.cli.client_configs.errors import ConfigError
from machines_mcp.server.rpc_urls import holds_rpc_url, is_rpc_variable
from machines_mcp.server.settings_reader import VARIABLES

_KEY = "MACHINES_PARTNER_KEY"
_VARIABLE = re.compile(r"\$[{\w]")
_PATH_SETTINGS = ("MACHINES_PARTNER_KEY_FILE", "MACHINES_CA_FILE")


def command() -> list[str]:
    """Return the command that starts us: the script next to this Python, or this Python if there is none."""
    script = "machines-mcp.exe" if os.name == "nt" else "machines-mcp"
    path = Path(sys.executable).parent.absolute() / script
    return [str(path)] if path.is_file() else [str(Path(sys.executable).absolute()), "-m", "machines_mcp"]


def entry(client: Client, env: Mapping[str, str], start: list[str] | None = None) -> dict[str, Any]:
    """Return the client's entry for us, with the settings from `env`.

    Raises:
        ConfigError: One of the settings must not be in a config.
    """
    program, *arguments = command() if start is None else start
    settings = {"MACHINES_ENV": "embedded"} | _forwarded_settings(env)
    return {
        **client.leading_fields,
        client.command_key: program,
        "args": [*arguments, "serve"],
        **client.extra_fields,
        client.env_key: settings,
    }


def config_block(name: str, env: Mapping[str, str] | None = None, start: list[str] | None = None) -> str:
    """Return our entry as text, as it appears in the config of the client with this name."""
    client = CLIENTS[name]
    new_entry = entry(client, os.environ if env is None else env, start)
    return editor(client).set_entry("", (client.servers_key, NAME), new_entry).rstrip("\n")


def _forwarded_settings(env: Mapping[str, str]) -> dict[str, str]:
    settings = {name: env[name] for name in sorted(env) if env[name] and (name in VARIABLES or is_rpc_variable(name))}
    if urls := [name for name in settings if holds_rpc_url(name)]:
        raise ConfigError(
            f"{urls[0]} is not written to a config, because it often has an access key. Set {urls[0]}_FILE instead."
        )
    if _KEY in settings:
        raise ConfigError(
            f"{_KEY} is not written to a config, because backups and other programs can read it. Store the key with "
            "machines-mcp login or set MACHINES_PARTNER_KEY_FILE, then unset this variable."
        )
    if "@" in settings.get("MACHINES_PROXY", ""):
        raise ConfigError(
            "MACHINES_PROXY contains a password, which is not written to a config. Set a proxy URL without one."
        )
    for name, value in settings.items():
        if _VARIABLE.search(value):
            raise ConfigError(f"{name} contains $, which clients treat as a variable. Choose another value.")
    paths = [name for name in settings if name in _PATH_SETTINGS or is_rpc_variable(name)]
    return settings | {name: str(Path(settings[name]).absolute()) for name in paths}

"""Links that install our entry with one click, for the clients that have them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from machines_mcp.cli.client_configs.clients import NAME, Client
from machines_mcp.cli.client_configs.entry import entry
from machines_mcp.cli.client_configs.errors import ConfigError


def install_link(client: Client, env: Mapping[str, str], start: list[str] | None = None) -> str:
    """Return the link that makes the client ask the user, and then add our entry with the settings from `env`.

    Raises:
        ConfigError: The client has no such links, or a setting must not be in one.
    """
    make = _LINKS.get(client.name)
    if make is None:
        raise ConfigError(f"{client.title} has no links that install a server. Run the command without --link.")
    return make(entry(client, env, start))


def _vscode(entry: dict[str, Any]) -> str:
    return f"vscode:mcp/install?{quote(_compact({'name': NAME} | entry), safe='')}"


def _cursor(entry: dict[str, Any]) -> str:
    config = base64.b64encode(_compact(entry).encode()).decode()
    return f"cursor://anysphere.cursor-deeplink/mcp/install?name={NAME}&config={quote(config, safe='')}"


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


_LINKS = {"vscode": _vscode, "cursor": _cursor}

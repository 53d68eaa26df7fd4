"""Generate the config blocks of docs/installing.md: each client's config path, and our entry as `install` writes it."""

from __future__ import annotations

import re
from pathlib import Path

from machines_mcp.cli.client_configs.clients import CLIENTS, Client, System
from machines_mcp.cli.client_configs.entry import config_block

PAGE = Path(__file__).with_name("installing.md")
COMMAND = "/path/to/machines-mcp/.venv/bin/machines-mcp"
_MADE = re.compile(r"(<!-- clients: made by `make docs` -->\n).*?(<!-- /clients -->)", re.DOTALL)
# Placeholders for home folders; `_SHOWN` is how the page writes them.
_SYSTEMS = {
    "macOS": System("darwin", {"HOME": "/HOME"}),
    "Linux": System("linux", {"HOME": "/HOME"}),
    "Windows": System("win32", {"USERPROFILE": r"C:\HOME", "APPDATA": r"C:\APPDATA", "LOCALAPPDATA": r"C:\LOCAL"}),
}
_SHOWN = {"/HOME": "~", r"C:\HOME": "%USERPROFILE%", r"C:\APPDATA": "%APPDATA%"}


def page() -> str:
    """Return the page with current blocks."""
    return _MADE.sub(lambda found: f"{found[1]}{_blocks()}\n{found[2]}", PAGE.read_text(encoding="utf-8"))


def _blocks() -> str:
    table = ["| client | macOS | Linux | Windows | in a project |", "| --- | --- | --- | --- | --- |"]
    table += [f"| `{client.name}` | {' | '.join(_places(client))} |" for client in CLIENTS.values()]
    return "\n\n".join(["\n".join(table), *(_block(client) for client in CLIENTS.values())])


def _places(client: Client) -> list[str]:
    places = [str(client.locate(system)) for system in _SYSTEMS.values()]
    for folder, shown in _SHOWN.items():
        places = [place.replace(folder, shown) for place in places]
    return [*(f"`{place}`" for place in places), f"`{'/'.join(client.project_path)}`" if client.project_path else ""]


def _block(client: Client) -> str:
    text = config_block(client.name, {}, [COMMAND])
    language = "jsonc" if client.dialect.trailing_commas else client.format
    return f"<details><summary>{client.title}</summary>\n\n```{language}\n{text}\n```\n\n</details>"

"""Commands that configure a client to use the server: install, uninstall."""

from __future__ import annotations

import os
from pathlib import Path

import click

from machines_mcp.cli.client_configs.clients import CLIENTS, this_system
from machines_mcp.cli.commands.login import offer_passphrase
from machines_mcp.cli.common import fail, load_settings
from machines_mcp.cli.screen import emit, say


class _ClientName(click.Choice[str]):
    """A client's name, or the start of one name alone: `gemini` for `gemini-cli`."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        found = [name for name in CLIENTS if value and name.startswith(value)]
        if len(found) > 1 and value not in found:
            *first, last = found
            raise click.UsageError(f"{value} fits {', '.join(first)} and {last}. Type more of the name.", ctx)
        return super().convert(found[0] if len(found) == 1 else value, param, ctx)


_client = click.argument("name", metavar="CLIENT", type=_ClientName(tuple(CLIENTS)))
_project = click.option("--project", is_flag=True, help="Use this folder's config instead of your own.")


@click.command()
@_client
@click.option("--print", "only_print", is_flag=True, help="Print the entry without changing the config.")
@click.option("--link", is_flag=True, help="Print a link that installs it with one click: cursor, vscode.")
@_project
def install(name: str, only_print: bool, link: bool, project: bool) -> None:
    """Add this server to CLIENT's config. Uses the settings of this environment.

    The rest of the config is unchanged; a backup is saved next to it. CLIENT: claude-desktop, claude-code, cursor,
    vscode, codex, gemini-cli, zed, goose or windsurf.
    """
    from machines_mcp.cli.client_configs.entry import config_block
    from machines_mcp.cli.client_configs.errors import ConfigError
    from machines_mcp.cli.client_configs.install import client_config_path, install
    from machines_mcp.cli.client_configs.links import install_link

    settings = load_settings()
    if link and project:
        fail("A link adds the server to your own config. Run the command without --project.")
    try:
        if link:
            made = install_link(CLIENTS[name], os.environ)
            say(f"Open this in a browser on this machine; {CLIENTS[name].title} asks before it adds it:", err=True)
            emit(made)
            return
        path = client_config_path(CLIENTS[name], this_system(), Path.cwd() if project else None)
        if only_print:
            say(f"For {path}:", err=True)
            emit(config_block(name))
            return
        say(install(CLIENTS[name], path, os.environ))
    except ConfigError as error:
        fail(str(error))
    offer_passphrase(settings)


@click.command()
@_client
@_project
def uninstall(name: str, project: bool) -> None:
    """Remove this server from CLIENT's config. The rest is unchanged, and a backup is saved next to it."""
    from machines_mcp.cli.client_configs.errors import ConfigError
    from machines_mcp.cli.client_configs.install import client_config_path, uninstall

    try:
        path = client_config_path(CLIENTS[name], this_system(), Path.cwd() if project else None)
        say(uninstall(CLIENTS[name], path))
    except ConfigError as error:
        fail(str(error))

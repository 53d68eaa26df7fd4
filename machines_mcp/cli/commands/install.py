"""Commands that configure a client to use the server: install, uninstall."""

from __future__ import annotations

import os
from pathlib import Path

import click

from machines_mcp.cli.client_configs.clients import CLIENTS, this_system
from machines_mcp.cli.commands.login import offer_passphrase
from machines_mcp.cli.common import fail, load_settings

_client = click.argument("name", metavar="CLIENT", type=click.Choice(tuple(CLIENTS)))
_project = click.option("--project", is_flag=True, help="Use this folder's config instead of your own.")


@click.command()
@_client
@click.option("--print", "only_print", is_flag=True, help="Print the entry without changing the config.")
@_project
def install(name: str, only_print: bool, project: bool) -> None:
    """Add this server to CLIENT's config. Uses the settings of this environment.

    CLIENT: claude-desktop, claude-code, cursor, vscode or codex. The rest is unchanged; a backup is saved next to it.
    """
    from machines_mcp.cli.client_configs.entry import config_block
    from machines_mcp.cli.client_configs.errors import ConfigError
    from machines_mcp.cli.client_configs.install import client_config_path, install

    settings = load_settings()
    try:
        path = client_config_path(CLIENTS[name], this_system(), Path.cwd() if project else None)
        if only_print:
            click.echo(f"For {path}:", err=True)
            click.echo(config_block(name))
            return
        click.echo(install(CLIENTS[name], path, os.environ))
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
        click.echo(uninstall(CLIENTS[name], path))
    except ConfigError as error:
        fail(str(error))

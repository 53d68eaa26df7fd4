"""Commands that set the server up in a client: install."""

from __future__ import annotations

import click

from machines_mcp.commands.common import fail


@click.command()
@click.argument("client", type=click.Choice(["claude-desktop", "claude-code"]))
@click.option("--print", "only_print", is_flag=True, help="Show the config instead of writing it.")
def install(client: str, only_print: bool) -> None:
    """Show the config block that starts this server in CLIENT."""
    from machines_mcp.install import config_text

    if not only_print:
        fail(f"Writing configs is not built yet; run: machines-mcp install {client} --print")
    click.echo(config_text(client))

"""The command line."""

from __future__ import annotations

import click

from machines_mcp import __version__
from machines_mcp.commands import checking, clients, completing, deciding, keys, login, serving
from machines_mcp.commands.root import Root


@click.group(cls=Root)
@click.version_option(__version__, prog_name="machines-mcp")
def main() -> None:
    """An MCP server that takes a Machines Cash partner's users from sign-up to a working card."""
    from machines_mcp.logs import configure

    # Before anything else can log: what libraries print of a failure holds what they were working on.
    configure("WARNING")


for command in (
    *(serving.serve, serving.sandbox, serving.demo, serving.call, serving.tools),
    *(deciding.approve, deciding.deny, deciding.desk, deciding.passphrase),
    *(checking.doctor, checking.policy, checking.audit),
    *(keys.keypair, keys.unseal),
    *(clients.install, clients.uninstall),
    *(login.login, login.logout),
    completing.completion,
):
    main.add_command(command)

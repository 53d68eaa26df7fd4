"""The command line."""

from __future__ import annotations

import click

from machines_mcp import __version__
from machines_mcp.commands import checking, clients, deciding, keys, login, serving


class _Main(click.Group):
    """Without a command the server is served: that is what a client's config starts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["serve"])


@click.group(cls=_Main)
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
):
    main.add_command(command)

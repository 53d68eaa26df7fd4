"""The command line."""

from __future__ import annotations

import click

from machines_mcp import __version__
from machines_mcp.cli import completion
from machines_mcp.cli.commands import approvals, diagnostics, install, keypair, login, run, state, withdrawal
from machines_mcp.cli.root import Root


@click.group(cls=Root)
@click.version_option(__version__, prog_name="machines-mcp")
def main() -> None:
    """An MCP server that takes a Machines Cash partner's users from sign-up to a working card."""
    from machines_mcp.server.log_config import configure

    # Configure logging first, because libraries may log the data they were processing when they fail.
    configure("WARNING")


for command in (
    *(run.serve, run.sandbox, run.demo, run.call, run.tools),
    *(approvals.approve, approvals.deny, approvals.freeze, approvals.unfreeze),
    *(approvals.desk, approvals.passphrase),
    *(diagnostics.doctor, diagnostics.policy, diagnostics.audit),
    state.state,
    withdrawal.withdrawal,
    *(keypair.keypair, keypair.unseal),
    *(install.install, install.uninstall),
    *(login.login, login.logout),
    completion.completion,
):
    main.add_command(command)

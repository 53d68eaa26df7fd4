"""Commands for the partner key (login, logout), and setting the first passphrase."""

from __future__ import annotations

import os

import click

from machines_mcp.cli.common import fail, run
from machines_mcp.cli.screen import say
from machines_mcp.server.settings import Settings, SettingsError

_ENVIRONMENTS = ("sandbox", "production")
_environment = click.argument(
    "environment", required=False, type=click.Choice(_ENVIRONMENTS), metavar=f"[{'|'.join(_ENVIRONMENTS)}]"
)


@click.command()
@_environment
def login(environment: str | None) -> None:
    """Store the partner key. Type it at the terminal (it is not shown), or send it as one line on stdin.

    It is stored in the system's keyring or, if there is none, in a file that only you can read.
    """
    from machines_mcp.cli.login import LoginFailed, login, settings_after_login
    from machines_mcp.cli.prompt import NoInput, TerminalInput
    from machines_mcp.server.partner_key import PartnerKeyError

    chosen = _chosen(environment)
    try:
        say(login(chosen, TerminalInput(), say))
    except (LoginFailed, NoInput, PartnerKeyError) as error:
        fail(str(error))
    try:
        offer_passphrase(settings_after_login(chosen, os.environ))
    except SettingsError as error:
        fail(f"The key is stored, but a server would not start yet: {error}")


@click.command()
@_environment
def logout(environment: str | None) -> None:
    """Remove the partner key that login stored."""
    from machines_mcp.cli.login import LoginFailed, logout

    try:
        say(logout(_chosen(environment)))
    except LoginFailed as error:
        fail(str(error))


def offer_passphrase(settings: Settings) -> None:
    """Ask for the first passphrase if one is needed."""
    if settings.simulated:
        return
    from machines_mcp.cli.login import first_passphrase
    from machines_mcp.cli.passphrase import UnusablePassphrase
    from machines_mcp.cli.prompt import NoInput, TerminalInput

    try:
        said = run(lambda: first_passphrase(settings, TerminalInput(), say))
    except (UnusablePassphrase, NoInput) as error:
        fail(f"{error} Run machines-mcp passphrase to set it.")
    if said is not None:
        say(said)


def _chosen(environment: str | None) -> str:
    chosen = environment or os.environ.get("MACHINES_ENV", "")
    if chosen not in _ENVIRONMENTS:
        fail("Name the environment of the key: sandbox or production, for example machines-mcp login sandbox.")
    return chosen

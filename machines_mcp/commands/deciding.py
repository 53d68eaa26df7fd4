"""Commands of the person who decides: approve, deny, desk, passphrase."""

from __future__ import annotations

import click

from machines_mcp.commands.common import end, fail, load_settings, run


@click.command()
@click.argument("approval_id", required=False, metavar="[ID]")
def approve(approval_id: str | None) -> None:
    """Approve the waiting call with this ID; without one, show what waits."""
    _decide(approval_id, yes=True)


@click.command()
@click.argument("approval_id", metavar="ID")
def deny(approval_id: str) -> None:
    """Refuse the waiting call with this ID."""
    _decide(approval_id, yes=False)


@click.command()
@click.option("--open", "opens", is_flag=True, help="Open it in this computer's browser, too.")
def desk(opens: bool) -> None:
    """Print the address of the desk, where a person decides; serve it until Ctrl-C where no server does."""
    settings = load_settings()
    from machines_mcp.desks import NoDesk, run_desk

    try:
        run(lambda: run_desk(settings, say=click.echo, warn=lambda line: click.echo(line, err=True), opens=opens))
    except NoDesk as error:
        fail(str(error))


@click.command()
@click.option("--status", is_flag=True, help="Only say whether one is set, and since when.")
def passphrase(status: bool) -> None:
    """Set the passphrase that proves a person; changing it needs the old one."""
    from machines_mcp.passphrases import NotUsable, set_at_terminal, standing
    from machines_mcp.terminal import Lines, NothingTyped

    settings = load_settings()
    try:
        ok, sentence = run(lambda: standing(settings) if status else set_at_terminal(settings, Lines()))
    except (NotUsable, NothingTyped) as error:
        fail(str(error))
    end(ok, sentence)


def _decide(approval_id: str | None, *, yes: bool) -> None:
    from machines_mcp.approval import ID, decide, waiting
    from machines_mcp.terminal import Lines, NothingTyped

    settings = load_settings()
    if approval_id is None:
        click.echo(run(lambda: waiting(settings)))
        return
    if not ID.fullmatch(approval_id):
        fail("ID must be the 32 characters (0-9, a-f) of an approval_id; machines-mcp approve shows what waits.")
    ask = Lines().ask
    try:
        decided = run(
            lambda: decide(settings, approval_id, yes=yes, show=click.echo, ask=lambda: ask("Your passphrase"))
        )
    except NothingTyped as error:
        fail(str(error))
    end(decided.ok, decided.says)

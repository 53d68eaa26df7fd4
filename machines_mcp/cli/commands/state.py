"""Commands for the operator of a state folder: state rebase-clock."""

from __future__ import annotations

import click

from machines_mcp.cli.common import end, load_settings, run


@click.group()
def state() -> None:
    """Maintain the state folder."""


@state.command("rebase-clock")
@click.option("--yes", is_flag=True, help="The computer's clock is right now.")
def rebase_clock(yes: bool) -> None:
    """Allow changes again after the clock was ahead, or was set back. Without --yes, only show what is known."""
    from machines_mcp.cli.clock import rebase

    settings = load_settings()
    ok, sentence = run(lambda: rebase(settings, confirmed=yes))
    end(ok, sentence)

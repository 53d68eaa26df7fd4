"""Commands for the operator of a state folder: state prune, state forget, state rebase-clock."""

from __future__ import annotations

import json

import click

from machines_mcp.cli.common import end, fail, load_settings, run
from machines_mcp.cli.screen import emit


@click.group()
def state() -> None:
    """Maintain the state folder."""


@state.command("prune")
@click.option("--days", type=click.IntRange(1, 36_500), help="Delete what is older; default: the policy's retention.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prune(days: int | None, as_json: bool) -> None:
    """Delete old rows that are no longer needed. The audit log stays verifiable.

    These are audit rows of reads, unused quotes, and calls that never ran.
    """
    from machines_mcp.cli.audit import Unverifiable
    from machines_mcp.cli.prune import prune as prune_rows

    settings = load_settings()
    try:
        pruned = run(lambda: prune_rows(settings, days))
    except Unverifiable as error:
        fail(str(error))
    if as_json and pruned.ok:
        emit(json.dumps({"deleted": pruned.deleted, "kept": pruned.kept}, indent=2))
        return
    end(pruned.ok, pruned.message)


@state.command("forget")
@click.argument("user_id", metavar="USER")
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
def forget(user_id: str, yes: bool) -> None:
    """Erase this user from the state folder. The audit log keeps a pseudonym and stays verifiable.

    Asks for the passphrase where approvals need one.
    """
    from machines_mcp.cli.audit import Unverifiable
    from machines_mcp.cli.forget import forget_user
    from machines_mcp.cli.prompt import NoInput, TerminalInput

    settings, lines = load_settings(), TerminalInput()
    if not user_id or not user_id.isprintable():
        fail("USER must be the id of a user. Nothing was erased.")
    if not yes and not lines.at_terminal:
        fail("This can't be undone. Add --yes, or run it at a terminal. Nothing was erased.")
    if not yes and lines.read_answer("This can't be undone. Type the user's id to erase the user") != user_id:
        fail("The ids differ. Nothing was erased.")
    try:
        ok, sentence = run(lambda: forget_user(settings, user_id, lambda: lines.read_secret("Your passphrase")))
    except (Unverifiable, NoInput) as error:
        fail(str(error))
    end(ok, sentence)


@state.command("rebase-clock")
@click.option("--yes", is_flag=True, help="The computer's clock is right now.")
def rebase_clock(yes: bool) -> None:
    """Allow changes again after a fault of the clock. Without --yes, only show how long they are held."""
    from machines_mcp.cli.clock import rebase

    settings = load_settings()
    ok, sentence = run(lambda: rebase(settings, confirmed=yes))
    end(ok, sentence)

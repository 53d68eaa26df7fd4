"""Commands for the operator of a state folder: state prune, state rebase-clock."""

from __future__ import annotations

import json

import click

from machines_mcp.cli.common import end, fail, load_settings, run


@click.group()
def state() -> None:
    """Maintain the state folder."""


@state.command("prune")
@click.option("--days", type=click.IntRange(1, 36_500), help="Delete what is older; default: the policy's retention.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prune(days: int | None, as_json: bool) -> None:
    """Delete old audit rows of reads, unused quotes and calls that never ran. The audit log stays verifiable."""
    from machines_mcp.cli.audit import Unverifiable
    from machines_mcp.cli.prune import prune as prune_rows

    settings = load_settings()
    try:
        pruned = run(lambda: prune_rows(settings, days))
    except Unverifiable as error:
        fail(str(error))
    content = {"deleted": pruned.deleted, "kept": pruned.kept}
    end(pruned.ok, json.dumps(content, indent=2) if as_json and pruned.ok else pruned.message)


@state.command("rebase-clock")
@click.option("--yes", is_flag=True, help="The computer's clock is right now.")
def rebase_clock(yes: bool) -> None:
    """Allow changes again after the clock was ahead, or was set back. Without --yes, only show what is known."""
    from machines_mcp.cli.clock import rebase

    settings = load_settings()
    ok, sentence = run(lambda: rebase(settings, confirmed=yes))
    end(ok, sentence)

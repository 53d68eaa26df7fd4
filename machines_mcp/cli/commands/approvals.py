"""Commands for the person who approves calls: approve, deny, freeze, unfreeze, desk, passphrase."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import click

from machines_mcp.cli.common import end, fail, load_settings, run, user_option
from machines_mcp.cli.completion import waiting_ids
from machines_mcp.cli.screen import emit, say

if TYPE_CHECKING:
    from machines_mcp.server.settings import Settings


@click.command()
@click.argument("approval_id", required=False, metavar="[ID]", shell_complete=waiting_ids)
@click.option("--json", "as_json", is_flag=True, help="Print the waiting calls as JSON (only without an ID).")
@click.option("--once", is_flag=True, help="Show the waiting calls once and end, also at a terminal.")
def approve(approval_id: str | None, as_json: bool, once: bool) -> None:
    """Approve the call with this ID, or list the waiting calls.

    The beginning of an ID is enough if only one begins so. The list updates at a terminal, until Ctrl-C.
    """
    if approval_id is not None:
        if as_json:
            fail("--json lists the waiting calls. Use it without an ID.")
        _decide(approval_id, yes=True)
    from machines_mcp.cli.approvals import approvals_as_json, format_waiting, waiting_approvals

    settings = load_settings()
    if not (as_json or once) and sys.stdin.isatty() and sys.stdout.isatty():
        _watch(settings)
    found, elsewhere = run(lambda: waiting_approvals(settings))
    if not as_json:
        say(format_waiting(settings, found, elsewhere))
        return
    emit(json.dumps(approvals_as_json(found), indent=2, ensure_ascii=False))
    if elsewhere:
        say(elsewhere, err=True)


@click.command()
@click.argument("approval_id", metavar="ID", shell_complete=waiting_ids)
def deny(approval_id: str) -> None:
    """Refuse the waiting call with this ID. Its beginning is enough if only one begins so."""
    _decide(approval_id, yes=False)


@click.command()
@user_option("Only the changes of this user.")
def freeze(user_id: str | None) -> None:
    """Stop all changes at once, in every server of the state folder.

    You can still read, lock a card and refuse approvals.
    """
    from machines_mcp.cli.freeze import freeze as freeze_changes

    settings = load_settings()
    end(True, run(lambda: freeze_changes(settings, user_id)))


@click.command()
@user_option("The freeze of this user.", checked=False)
def unfreeze(user_id: str | None) -> None:
    """Allow changes again. Asks for the passphrase, except in embedded."""
    from machines_mcp.cli.freeze import ImpossibleUser
    from machines_mcp.cli.freeze import unfreeze as unfreeze_changes
    from machines_mcp.cli.prompt import NoInput, TerminalInput

    settings, ask = load_settings(), TerminalInput().read_secret
    try:
        ok, sentence = run(lambda: unfreeze_changes(settings, user_id, lambda: ask("Your passphrase")))
    except (NoInput, ImpossibleUser) as error:
        fail(str(error))
    end(ok, sentence)


@click.command()
@click.option("--open", "opens", is_flag=True, help="Also open it in this computer's browser.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def desk(opens: bool, as_json: bool) -> None:
    """Print the address of the desk, where a person approves calls. If no server runs it, serve it until Ctrl-C."""
    settings = load_settings()
    from machines_mcp.cli.desk import DeskUnavailable, run_desk

    def say_where(address: str, served_here: bool) -> None:
        emit(json.dumps({"address": address, "served_here": served_here}) if as_json else address)

    try:
        run(lambda: run_desk(settings, say=say_where, warn=lambda line: say(line, err=True), opens=opens))
    except DeskUnavailable as error:
        fail(str(error))


@click.command()
@click.option("--status", is_flag=True, help="Only show whether one is set, and since when.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (only with --status).")
def passphrase(status: bool, as_json: bool) -> None:
    """Set the passphrase for approvals. Changing it requires the old one."""
    from machines_mcp.cli.passphrase import UnusablePassphrase, passphrase_status, set_at_terminal, status_message
    from machines_mcp.cli.prompt import NoInput, TerminalInput

    settings = load_settings()
    if as_json and not status:
        fail("--json works only with --status.")
    if as_json:
        found = run(lambda: passphrase_status(settings))
        emit(json.dumps(found.as_json(), indent=2))
        sys.exit(0 if found.set_at is not None else 1)
    try:
        ok, sentence = run(lambda: status_message(settings) if status else set_at_terminal(settings, TerminalInput()))
    except (UnusablePassphrase, NoInput) as error:
        fail(str(error))
    end(ok, sentence)


def _watch(settings: Settings) -> NoReturn:
    from machines_mcp.cli.approvals import watch_waiting

    def show(text: str) -> None:
        click.clear()
        say(f"{text}\n\nThis list updates by itself. Press Ctrl-C to end.")

    with suppress(KeyboardInterrupt):
        run(lambda: watch_waiting(settings, show))
    sys.exit(0)


def _decide(approval_id: str, *, yes: bool) -> NoReturn:
    from machines_mcp.cli.approvals import ID_BEGINNING, ID_LENGTH, NoSuchApproval, decide, matching_id
    from machines_mcp.cli.prompt import NoInput, TerminalInput

    settings = load_settings()
    if not ID_BEGINNING.fullmatch(approval_id):
        fail("ID must be the 32 characters (0-9, a-f) of an approval_id, or their beginning. Run machines-mcp approve.")
    ask = TerminalInput().read_secret
    try:
        if len(approval_id) < ID_LENGTH:
            approval_id = run(lambda: matching_id(settings, approval_id))
        decided = run(lambda: decide(settings, approval_id, yes=yes, show=say, ask=lambda: ask("Your passphrase")))
    except (NoInput, NoSuchApproval) as error:
        fail(str(error))
    end(decided.ok, decided.message)

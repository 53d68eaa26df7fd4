"""Commands that look and tell: doctor, policy check, audit show, audit verify."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn, get_args

import click

from machines_mcp.cli.common import end, fail, load_settings, run, usable_state
from machines_mcp.cli.completion import tool_names
from machines_mcp.server.settings import SettingsError
from machines_mcp.storage.audit_record import Kind


@click.command()
@click.option("--probe", is_flag=True, help="Also ask every endpoint that only reads, and compare the answers.")
@click.option("--resolve", "resolves", is_flag=True, help="Say what became of calls that nobody else can tell of.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(probe: bool, resolves: bool, as_json: bool) -> None:
    """Check settings, state and reachability, and say what to do about each."""
    if resolves:
        _resolve()
    from machines_mcp.cli.doctor.run import examine

    findings = run(lambda: examine(probe=probe))
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(_on_screen(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.message}"))
    sys.exit(0 if all(f.ok for f in findings) else 1)


@click.group()
def policy() -> None:
    """Look at a policy file."""


@policy.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def policy_check(file: Path, as_json: bool) -> None:
    """Say whether the policy in FILE would be taken, and what each tool may do under it; exit code 2 if refused.

    For MACHINES_ENV, or where that is not set for the environment that the file names.
    """
    from machines_mcp.cli.policy_report import checked, report, text

    try:
        with usable_state():
            found = checked(file, os.environ)
    except SettingsError as error:
        fail(str(error))
    click.echo(json.dumps(report(found), indent=2, ensure_ascii=False) if as_json else text(found))


@click.group()
def audit() -> None:
    """Read the audit, and verify that nobody tampered with it."""


@audit.command("show")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--tool", metavar="TOOL", shell_complete=tool_names, help="Rows of this tool only.")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Rows of this kind only.")
@click.option("--user", "user_id", metavar="ID", help="Rows of this user only.")
@click.option("--since", metavar="WHEN", help="Not older: seconds back, or an ISO date or time (UTC).")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
def audit_show(as_json: bool, since: str | None, **wanted: Any) -> None:
    """Show the newest rows, the last one last."""
    import time

    from machines_mcp.cli.audit import Wanted, rows, since_time, table

    settings = load_settings()
    try:
        start = None if since is None else since_time(since, time.time())
    except (ValueError, OverflowError):
        fail("--since must be seconds back (3600), or an ISO date or time (2026-01-31, 2026-01-31T12:00).")
    found = run(lambda: rows(settings, Wanted(since=start, **wanted)))
    click.echo(json.dumps([row.as_json() for row in found], indent=2) if as_json else table(found))


@audit.command("verify")
@click.option("--head", metavar="FILE", type=click.Path(path_type=Path), help="A head kept elsewhere.")
@click.option("--write-head", metavar="FILE", type=click.Path(path_type=Path), help="Write the head, if all is whole.")
def audit_verify(head: Path | None, write_head: Path | None) -> None:
    """Verify the chain of rows: exit code 0 whole, 1 tampered with (and where), 2 not to be told."""
    from machines_mcp.cli.audit import Unverifiable, verified

    settings = load_settings()
    try:
        finding, sentence = run(lambda: verified(settings, head, write_head))
    except Unverifiable as error:
        fail(str(error))
    click.echo(sentence)
    sys.exit(0 if finding.ok else 1)


def _on_screen(line: str) -> str:
    import textwrap

    return textwrap.fill(line, 100, subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False)


def _resolve() -> NoReturn:
    from machines_mcp.cli.prompt import Lines, NothingTyped
    from machines_mcp.cli.resolve import NO_TERMINAL, resolve

    settings, lines = load_settings(), Lines()
    if not lines.at_terminal:
        fail(NO_TERMINAL)
    try:
        resolved = run(lambda: resolve(settings, lines, click.echo))
    except NothingTyped as error:
        fail(str(error))
    end(resolved.ok, resolved.message)

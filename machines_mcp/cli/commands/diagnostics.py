"""Commands that check and report: doctor, policy check, audit show, audit verify."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn, get_args

import click

from machines_mcp.cli.common import end, fail, load_settings, run, usable_state, user_option
from machines_mcp.cli.completion import tool_names
from machines_mcp.cli.screen import emit, say, wrapped
from machines_mcp.server.settings import SettingsError
from machines_mcp.storage.audit_record import Kind

MAX_LINE = 100


@click.command()
@click.option("--probe", is_flag=True, help="Also call every read-only endpoint and check the responses.")
@click.option("--resolve", "resolves", is_flag=True, help="Resolve calls whose outcome is unknown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(probe: bool, resolves: bool, as_json: bool) -> None:
    """Check settings, state and reachability, and suggest fixes."""
    if resolves:
        _resolve()
    from machines_mcp.cli.doctor.finding import verdict
    from machines_mcp.cli.doctor.run import run_checks

    findings = run(lambda: run_checks(probe=probe))
    if as_json:
        emit(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        for finding in findings:
            line = f"{finding.mark:<4}  {finding.check}: {finding.message}"
            say(wrapped(line, 6, most=MAX_LINE))
        say(f"\n{wrapped(verdict(findings), 0, most=MAX_LINE)}")
    sys.exit(0 if all(f.ok for f in findings) else 1)


@click.group()
def policy() -> None:
    """Check a policy file."""


@policy.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def policy_check(file: Path, as_json: bool) -> None:
    """Check the policy in FILE and show what each tool may do under it. Exit code 2 if the policy is refused.

    Uses MACHINES_ENV or, if that is not set, the environment that the file names.
    """
    from machines_mcp.cli.policy_report import format_report, load_policy, report

    try:
        with usable_state():
            found = load_policy(file, os.environ)
    except SettingsError as error:
        fail(str(error))
    if as_json:
        emit(json.dumps(report(found), indent=2, ensure_ascii=False))
    else:
        say(format_report(found))


@click.group()
def audit() -> None:
    """Show the audit log, or verify that it was not tampered with."""


@audit.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--tool", metavar="TOOL", shell_complete=tool_names, help="Only rows of this tool.")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Only rows of this kind.")
@user_option("Only rows of this user.")
@click.option("--since", metavar="WHEN", help="Only rows since then: seconds ago, or an ISO date or time (UTC).")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Maximum number of rows.")
def audit_show(as_json: bool, since: str | None, **wanted: Any) -> None:
    """Show the newest rows in chronological order."""
    import time

    from machines_mcp.cli.audit import AuditQuery, format_table, matching_rows, since_time

    settings = load_settings()
    try:
        start = None if since is None else since_time(since, time.time())
    except (ValueError, OverflowError):
        fail("--since must be seconds ago (3600), or an ISO date or time (2026-01-31, 2026-01-31T12:00).")
    found = run(lambda: matching_rows(settings, AuditQuery(since=start, **wanted)))
    if as_json:
        emit(json.dumps([row.as_json() for row in found], indent=2))
    else:
        say(format_table(found))


@audit.command("verify")
@click.option("--head", metavar="FILE", type=click.Path(path_type=Path), help="A checkpoint saved elsewhere.")
@click.option("--write-head", metavar="FILE", type=click.Path(path_type=Path), help="Save a checkpoint if intact.")
def audit_verify(head: Path | None, write_head: Path | None) -> None:
    """Verify the hash chain. Exit code 0: intact; 1: tampered with (prints where); 2: could not be verified."""
    from machines_mcp.cli.audit import Unverifiable, verify_chain

    settings = load_settings()
    try:
        verification, sentence = run(lambda: verify_chain(settings, head, write_head))
    except Unverifiable as error:
        fail(str(error))
    say(sentence)
    sys.exit(0 if verification.ok else 1)


def _resolve() -> NoReturn:
    from machines_mcp.cli.prompt import NoInput, TerminalInput
    from machines_mcp.cli.resolve import NO_TERMINAL, resolve

    settings, lines = load_settings(), TerminalInput()
    if not lines.at_terminal:
        fail(NO_TERMINAL)
    try:
        resolved = run(lambda: resolve(settings, lines, say))
    except NoInput as error:
        fail(str(error))
    end(resolved.ok, resolved.message)

"""The commands. Each loads what it needs when it is called."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

import click

from machines_mcp import __version__
from machines_mcp.guard.audit_row import Kind
from machines_mcp.settings import Settings, SettingsError, read_settings

T = TypeVar("T")

_UNUSABLE = "The state folder can't be used; check its owner, mode (0700) and free space, or run machines-mcp doctor."


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


@main.command()
def serve() -> None:
    """Serve MCP on stdin and stdout (what a client's config starts)."""
    settings = _settings()
    from machines_mcp.server import serve as run_server

    _run(lambda: run_server(settings))
    # Not by way of the interpreter's shutdown: a thread that still reads stdin would hold it up.
    sys.stderr.flush()
    os._exit(0)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Run the Partner API simulator alone on loopback (--port N, --db FILE, --reset)."""
    from machines_mcp.sandbox.__main__ import main as run_sandbox

    sys.exit(run_sandbox(list(arguments)))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON line per call.")
def demo(as_json: bool) -> None:
    """The whole journey against the embedded simulator, told step by step."""
    from machines_mcp.demo import run_demo

    sys.exit(_run(lambda: run_demo(as_json=as_json)))


@main.command()
@click.argument("tool")
@click.argument("arguments", required=False, default="{}")
@click.option("--approve", is_flag=True, help="Approve what the call asks for (embedded only).")
def call(tool: str, arguments: str, approve: bool) -> None:
    """Call one TOOL with JSON arguments; the structured result goes to stdout, exit code 1 on a tool error."""
    settings = _settings()
    if approve and not settings.simulated:
        _fail("--approve works with MACHINES_ENV=embedded only; a person must approve real calls.")
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        _fail('The arguments must be one JSON object, for example: \'{"user_id": "user-1"}\'.')
    from machines_mcp.scripted import call_once

    def wait_at(page: str) -> None:
        click.echo(f"Waiting for the user at {page}, at most two minutes.", err=True)

    body, ok = _run(lambda: call_once(settings, tool, given, standing_yes=approve, on_page=wait_at))
    click.echo(json.dumps(body, ensure_ascii=False, indent=2))
    sys.exit(0 if ok else 1)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def tools(as_json: bool) -> None:
    """List the tools: class, what the policy says, token cost."""
    from machines_mcp.listing import listing, listing_table, standing

    settings = _settings()
    with _usable_state():
        rows = listing(settings)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo("\n".join([listing_table(rows), "", *_run(lambda: standing(settings))]))


@main.command()
@click.argument("approval_id", required=False, metavar="[ID]")
def approve(approval_id: str | None) -> None:
    """Approve the waiting call with this ID; without one, show what waits."""
    _decide(approval_id, yes=True)


@main.command()
@click.argument("approval_id", metavar="ID")
def deny(approval_id: str) -> None:
    """Refuse the waiting call with this ID."""
    _decide(approval_id, yes=False)


@main.command()
@click.option("--open", "opens", is_flag=True, help="Open it in this computer's browser, too.")
def desk(opens: bool) -> None:
    """Print the address of the desk, where a person decides; serve it until Ctrl-C where no server does."""
    settings = _settings()
    from machines_mcp.desks import NoDesk, run_desk

    try:
        _run(lambda: run_desk(settings, say=click.echo, warn=lambda line: click.echo(line, err=True), opens=opens))
    except NoDesk as error:
        _fail(str(error))


@main.command()
@click.option("--status", is_flag=True, help="Only say whether one is set, and since when.")
def passphrase(status: bool) -> None:
    """Set the passphrase that proves a person; changing it needs the old one."""
    from machines_mcp.passphrases import NotUsable, set_at_terminal, standing
    from machines_mcp.terminal import Lines, NothingTyped

    settings = _settings()
    try:
        ok, sentence = _run(lambda: standing(settings) if status else set_at_terminal(settings, Lines()))
    except (NotUsable, NothingTyped) as error:
        _fail(str(error))
    _end(ok, sentence)


@main.command()
@click.option("--probe", is_flag=True, help="Also ask every endpoint that only reads, and compare the answers.")
@click.option("--resolve", "resolves", is_flag=True, help="Say what became of calls that nobody else can tell of.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(probe: bool, resolves: bool, as_json: bool) -> None:
    """Check settings, state and reachability, and say what to do about each."""
    if resolves:
        _resolve()
    from machines_mcp.doctor import examine

    findings = _run(lambda: examine(probe=probe))
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.says}")
    sys.exit(0 if all(f.ok for f in findings) else 1)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def keypair(file: Path) -> None:
    """Make a key pair that cards can be sealed to: the private key in FILE (0600), the public one in FILE.pub."""
    from machines_mcp.sealing import KeyPairError, new_key_pair

    try:
        click.echo(new_key_pair(file))
    except KeyPairError as error:
        _fail(str(error))


@main.command()
@click.argument("keyfile", type=click.Path(path_type=Path))
@click.argument("sealed", metavar="[JWE|-]", default="-")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for a program: to a pipe or a file, too.")
def unseal(keyfile: Path, sealed: str, as_json: bool) -> None:
    """Open a sealed card (a JWE, or - for the one on stdin) with the private key in KEYFILE, and print it."""
    from machines_mcp.sealing import KeyPairError, card_text

    try:
        click.echo(card_text(keyfile, sealed, as_json=as_json))
    except KeyPairError as error:
        _fail(str(error))


@main.group()
def policy() -> None:
    """Look at a policy file."""


@policy.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def policy_check(file: Path, as_json: bool) -> None:
    """Say whether the policy in FILE would be taken, and what each tool may do under it; exit code 2 if refused.

    For MACHINES_ENV, or where that is not set for the environment that the file names.
    """
    from machines_mcp.policy_report import checked, report, text

    try:
        with _usable_state():
            found = checked(file, os.environ)
    except SettingsError as error:
        _fail(str(error))
    click.echo(json.dumps(report(found), indent=2, ensure_ascii=False) if as_json else text(found))


@main.group()
def audit() -> None:
    """Read the audit, and verify that nobody tampered with it."""


@audit.command("show")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--tool", metavar="TOOL", help="Rows of this tool only.")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Rows of this kind only.")
@click.option("--user", "user_id", metavar="ID", help="Rows of this user only.")
@click.option("--since", metavar="WHEN", help="Not older: seconds back, or an ISO date or time (UTC).")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
def audit_show(as_json: bool, since: str | None, **wanted: Any) -> None:
    """Show the newest rows, the last one last."""
    import time

    from machines_mcp.auditing import Wanted, rows, since_time, table

    settings = _settings()
    try:
        start = None if since is None else since_time(since, time.time())
    except (ValueError, OverflowError):
        _fail("--since must be seconds back (3600), or an ISO date or time (2026-01-31, 2026-01-31T12:00).")
    found = _run(lambda: rows(settings, Wanted(since=start, **wanted)))
    click.echo(json.dumps([row.as_json() for row in found], indent=2) if as_json else table(found))


@audit.command("verify")
@click.option("--head", metavar="FILE", type=click.Path(path_type=Path), help="A head kept elsewhere.")
@click.option("--write-head", metavar="FILE", type=click.Path(path_type=Path), help="Write the head, if all is whole.")
def audit_verify(head: Path | None, write_head: Path | None) -> None:
    """Verify the chain of rows: exit code 0 whole, 1 tampered with (and where), 2 not to be told."""
    from machines_mcp.auditing import Unverifiable, verified

    settings = _settings()
    try:
        finding, sentence = _run(lambda: verified(settings, head, write_head))
    except Unverifiable as error:
        _fail(str(error))
    click.echo(sentence)
    sys.exit(0 if finding.ok else 1)


@main.command()
@click.argument("client", type=click.Choice(["claude-desktop", "claude-code"]))
@click.option("--print", "only_print", is_flag=True, help="Show the config instead of writing it.")
def install(client: str, only_print: bool) -> None:
    """Show the config block that starts this server in CLIENT."""
    from machines_mcp.install import config_text

    if not only_print:
        _fail(f"Writing configs is not built yet; run: machines-mcp install {client} --print")
    click.echo(config_text(client))


def _decide(approval_id: str | None, *, yes: bool) -> None:
    from machines_mcp.approval import ID, decide, waiting
    from machines_mcp.terminal import Lines, NothingTyped

    settings = _settings()
    if approval_id is None:
        click.echo(_run(lambda: waiting(settings)))
        return
    if not ID.fullmatch(approval_id):
        _fail("ID must be the 32 characters (0-9, a-f) of an approval_id; machines-mcp approve shows what waits.")
    ask = Lines().ask
    try:
        decided = _run(
            lambda: decide(settings, approval_id, yes=yes, show=click.echo, ask=lambda: ask("Your passphrase"))
        )
    except NothingTyped as error:
        _fail(str(error))
    _end(decided.ok, decided.says)


def _resolve() -> NoReturn:
    from machines_mcp.resolving import NO_TERMINAL, resolve
    from machines_mcp.terminal import Lines, NothingTyped

    settings, lines = _settings(), Lines()
    if not lines.at_terminal:
        _fail(NO_TERMINAL)
    try:
        resolved = _run(lambda: resolve(settings, lines, click.echo))
    except NothingTyped as error:
        _fail(str(error))
    _end(resolved.ok, resolved.says)


def _end(ok: bool, sentence: str) -> NoReturn:
    click.echo(sentence, err=not ok)
    sys.exit(0 if ok else 1)


def _settings() -> Settings:
    from machines_mcp.logs import configure

    try:
        settings = read_settings()
    except SettingsError as error:
        _fail(str(error))
    configure(settings.log_level)
    return settings


def _fail(sentence: str) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(2)


def _run(main_function: Callable[[], Awaitable[T]]) -> T:
    import anyio

    with _usable_state():
        return anyio.run(main_function)


@contextmanager
def _usable_state() -> Iterator[None]:
    from machines_mcp.guard.policy import PolicyError
    from machines_mcp.guard.store import StoreUnavailable

    try:
        yield
    except PolicyError as error:
        _fail(str(error))
    except StoreUnavailable as error:
        _fail(str(error) or _UNUSABLE)

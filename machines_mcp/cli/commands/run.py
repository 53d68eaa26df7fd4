"""Commands that serve tools or call them: serve, sandbox, demo, call, tools."""

from __future__ import annotations

import json
import os
import sys

import click

from machines_mcp.cli.common import fail, load_settings, run, usable_state
from machines_mcp.cli.completion import tool_names


@click.command()
def serve() -> None:
    """Serve MCP on stdin and stdout (what a client's config starts)."""
    settings = load_settings()
    from machines_mcp.server.stdio import serve as run_server

    run(lambda: run_server(settings))
    # Not by way of the interpreter's shutdown: a thread that still reads stdin would hold it up.
    sys.stderr.flush()
    os._exit(0)


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Run the Partner API simulator alone on loopback (--port N, --db FILE, --reset)."""
    from machines_mcp.sandbox.__main__ import main as run_sandbox

    sys.exit(run_sandbox(list(arguments)))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON line per call.")
def demo(as_json: bool) -> None:
    """The whole journey against the embedded simulator, told step by step."""
    from machines_mcp.cli.demo.run import run_demo

    sys.exit(run(lambda: run_demo(as_json=as_json)))


@click.command()
@click.argument("tool", shell_complete=tool_names)
@click.argument("arguments", required=False, default="{}")
@click.option("--approve", is_flag=True, help="Approve what the call asks for (embedded only).")
def call(tool: str, arguments: str, approve: bool) -> None:
    """Call one TOOL with JSON arguments; the structured result goes to stdout, exit code 1 on a tool error."""
    settings = load_settings()
    if approve and not settings.simulated:
        fail("--approve works with MACHINES_ENV=embedded only; a person must approve real calls.")
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        fail('The arguments must be one JSON object, for example: \'{"user_id": "user-1"}\'.')
    from machines_mcp.cli.call import call_once
    from machines_mcp.cli.progress import reporting_on

    def wait_at(page: str) -> None:
        click.echo(f"Waiting for the user at {page}, at most two minutes.", err=True)

    with reporting_on(sys.stderr) as told:
        body, ok = run(
            lambda: call_once(settings, tool, given, standing_yes=approve, on_page=wait_at, on_progress=told)
        )
    click.echo(json.dumps(body, ensure_ascii=False, indent=2))
    sys.exit(0 if ok else 1)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def tools(as_json: bool) -> None:
    """List the tools: class, what the policy says, token cost."""
    from machines_mcp.cli.tools_table import listing, listing_table, standing

    settings = load_settings()
    with usable_state():
        rows = listing(settings)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo("\n".join([listing_table(rows), "", *run(lambda: standing(settings))]))

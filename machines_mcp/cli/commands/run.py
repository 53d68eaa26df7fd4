"""Commands that serve, call or list tools: serve, sandbox, demo, call, tools."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from machines_mcp.cli.common import end, fail, load_settings, run, usable_state
from machines_mcp.cli.completion import tool_names
from machines_mcp.cli.screen import at_terminal, emit, say
from machines_mcp.server.garbage_collection import paused, resume_soon

AT_TERMINAL = (
    "This program speaks MCP with a client on stdin. To see it work, run machines-mcp demo; to add it to a client,"
    " machines-mcp install CLIENT. Ctrl-C ends it."
)


@click.command()
def serve() -> None:
    """Serve MCP on stdin and stdout. Client configs start this command."""
    with paused():
        settings = load_settings()
        if sys.stdin is not None and sys.stdin.isatty():
            say(AT_TERMINAL, err=True)
        from machines_mcp.server.stdio import serve as run_server

        async def serving() -> None:
            resume_soon()
            await run_server(settings)

        run(serving)
    # Skip the interpreter's shutdown, which would wait for a thread that still reads stdin.
    sys.stderr.flush()
    os._exit(0)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; default: a free one.")
@click.option("--db", metavar="FILE", type=click.Path(path_type=Path), help="Keep the state in this file.")
@click.option("--reset", is_flag=True, help="Delete the saved state first.")
@click.option("--chain", is_flag=True, help="Execute withdrawals on EVM chains of its own (extra: sandbox-chain).")
def sandbox(port: int, db: Path | None, reset: bool, chain: bool) -> None:
    """Run only the simulator of the Partner API.

    The first line of output to a pipe is its address and key, as JSON.
    """
    from machines_mcp.sandbox.__main__ import serve as serve_sandbox

    problem = serve_sandbox(port, db, reset=reset, chain=chain, announce=_announce if at_terminal() else None)
    if problem is not None:
        end(False, problem)


def _announce(found: Mapping[str, Any]) -> None:
    chains = found.get("chains", {})
    settings = {
        "ENV": "sandbox",
        "API_URL": found["base_url"],
        "PARTNER_KEY": found["partner_key"],
        "USER_ID": "user-1",
        **{f"RPC_URL_{chain_id}": chain["rpc_url"] for chain_id, chain in chains.items()},
    }
    lines = ["The simulator runs until Ctrl-C. Its page:", found["control_url"], ""]
    lines += ["To connect a server, set this in its shell:", ""]
    lines += [f"export MACHINES_{name}={value}" for name, value in settings.items()]
    if chains:
        lines += ["", "A wallet with coins for fees, and its key:", *found["wallet"].values()]
        lines += ["", "For the server's policy, if it has one:"]
    for chain_id, chain in chains.items():
        lines += ["", f"[chain.{chain_id}]", f"targets = {json.dumps(chain['targets'])}"]
        for token in chain["tokens"]:
            lines += ["", f"[[chain.{chain_id}.tokens]]", f'address = "{token["address"]}"']
            lines += [f"decimals = {token['decimals']}"]
    say("\n".join(lines))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per call.")
@click.option(
    "--withdraw", is_flag=True, help="Withdraw on a chain of the simulator instead of a card (extra: sandbox-chain)."
)
def demo(as_json: bool, withdraw: bool) -> None:
    """Run the full journey on the embedded simulator, step by step."""
    if withdraw:
        from machines_mcp.sandbox.__main__ import chain_problem

        if (problem := chain_problem()) is not None:
            fail(problem)
    from machines_mcp.cli.demo.run import run_demo

    sys.exit(run(lambda: run_demo(as_json=as_json, withdraw=withdraw)))


@click.command()
@click.argument("tool", shell_complete=tool_names)
@click.argument("arguments", required=False, default="{}")
@click.option("--approve", is_flag=True, help="Approve the call if it requires approval (embedded only).")
def call(tool: str, arguments: str, approve: bool) -> None:
    """Call TOOL with JSON arguments and print the structured result. Exit code 1 on a tool error."""
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
        say(f"Waiting up to 15 minutes for the user at {page}.", err=True)

    with reporting_on(sys.stderr) as on_progress:
        body, ok = run(
            lambda: call_once(settings, tool, given, approves_all=approve, on_page=wait_at, on_progress=on_progress)
        )
    emit(json.dumps(body, ensure_ascii=False, indent=2))
    if body.get("code") == "tool.unknown" and (hint := _similar_tool(tool)):
        say(hint, err=True)
    sys.exit(0 if ok else 1)


def _similar_tool(name: str) -> str:
    """Return a sentence with the tool whose name is most like this one; empty if none is."""
    from difflib import get_close_matches

    from machines_mcp.tools.catalog import TOOLS

    found = get_close_matches(name.lower().replace("-", "_")[:100], [tool.name for tool in TOOLS], n=1)
    return f"Did you mean {found[0]}?" if found else ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tools(as_json: bool) -> None:
    """List the tools with their action class, policy and token cost."""
    from machines_mcp.cli.tools_table import format_table, policy_summary, tool_rows

    settings = load_settings()
    with usable_state():
        rows = tool_rows(settings)
    if as_json:
        emit(json.dumps(rows, indent=2))
        return
    say("\n".join([format_table(rows), "", *run(lambda: policy_summary(settings, rows))]))

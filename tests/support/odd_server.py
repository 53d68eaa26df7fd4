"""The server with misbehaving tools: `python -m tests.support.odd_server`, with the usual settings.

ODD_BROKEN makes every handler raise. ODD_STOP_SECONDS and ODD_DRAIN_SECONDS set the server's shutdown limits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import anyio
from pydantic import Field

from machines_mcp.cli.main import main
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol import handlers
from machines_mcp.protocol import stdio as pipes
from machines_mcp.protocol.tool import Input, Output, ToolContext, tool
from machines_mcp.server import app, stdio
from machines_mcp.tools import catalog

CANARY = "canary-7f3a-9c21"


class Nothing(Input):
    pass


class Seconds(Input):
    seconds: float = Field(ge=0, le=600)


class Size(Input):
    characters: int = Field(ge=0, le=1_000_000)


class Done(Output):
    text: str


@tool(title="Chatter", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def chatter(call: ToolContext[Any], args: Nothing) -> Done:
    """Write to standard output in every way there is, and read standard input."""
    line = '{"jsonrpc":"2.0","id":1,"result":{"stray":true}}'
    print(line, flush=True)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    os.write(1, line.encode() + b"\n")
    if sys.__stdout__ is not None:
        print(line, file=sys.__stdout__, flush=True)
    subprocess.run(["echo", line], check=True)  # noqa: ASYNC221
    left = subprocess.run(["cat"], check=True, capture_output=True).stdout  # noqa: ASYNC221
    return Done(text=f"{len(left)} bytes of standard input")


@tool(title="Sleep", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def sleep(call: ToolContext[Any], args: Seconds) -> Done:
    """Answer after a while."""
    await anyio.sleep(args.seconds)
    return Done(text="slept")


@tool(title="Hold", toolset="always", action_class=ActionClass.WRITE, idempotent=False)
async def hold(call: ToolContext[Any], args: Seconds) -> Done:
    """Let nothing end this for a while."""
    with anyio.CancelScope(shield=True):
        await anyio.sleep(args.seconds)
    return Done(text="held")


@tool(title="Write", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def write(call: ToolContext[Any], args: Size) -> Done:
    """Answer with much."""
    return Done(text="x" * args.characters)


@tool(title="Boom", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def boom(call: ToolContext[Any], args: Nothing) -> Done:
    """Fail."""
    raise ValueError(CANARY)


def broken(*_: object) -> Any:
    """Stands for any dependency of a handler, and raises."""
    raise LookupError(CANARY)


if __name__ == "__main__":
    # The odd tools give no next steps, so the catalogue's order and budget do not matter here.
    catalog.TOOLS = (*catalog.TOOLS, chatter, sleep, hold, write, boom)
    if "ODD_BROKEN" in os.environ:
        app.App.load = broken  # type: ignore[method-assign,assignment]
        vars(handlers)["load_prompts"] = broken
    stdio.STOP_SECONDS = float(os.environ.get("ODD_STOP_SECONDS", stdio.STOP_SECONDS))
    if "ODD_DRAIN_SECONDS" in os.environ:
        pipes.PIPE_DRAIN_SECONDS = pipes.FILE_DRAIN_SECONDS = float(os.environ["ODD_DRAIN_SECONDS"])
    main()

"""One call by a client without a dialog, in memory: what `machines-mcp call` does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from mcp import Client
from mcp_types import CallToolResult, Implementation

from machines_mcp import __version__
from machines_mcp.cli.progress import ProgressReporter
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.server.app import opened
from machines_mcp.server.settings import Settings


async def call_once(
    settings: Settings,
    tool: str,
    arguments: Mapping[str, Any],
    *,
    standing_yes: bool,
    on_page: Callable[[str], None] = lambda url: None,
    on_progress: ProgressReporter | None = None,
) -> tuple[dict[str, Any], bool]:
    """The structured result, or the error's object, and whether it went well.

    Where the call needs a person at a page of its own, that page goes with this process: `on_page` is told its address,
    and the answer is what became of it, at the latest after two minutes. `on_progress` is told how far a wait is.
    """
    who = Implementation(name="machines-mcp call", version=__version__)
    async with opened(settings, standing_yes=standing_yes) as app, Client(app.server(), client_info=who) as client:
        answer, body = await _call(client, tool, arguments, on_progress)
        if "page" in body and "approval_id" in body:
            on_page(str(body["page"]))
            await app.reveals.ended(body["approval_id"])
            # A page that nobody used leaves it open; asking for it again would only open the next.
            if await app.guard.channels.get(body["approval_id"]) is None:
                again = {**arguments, "approval_id": body["approval_id"]}
                answer, body = await _call(client, tool, again, on_progress)
        # What leaves here leaves by no line, and is looked at as if it did.
        app.output_filter.allow("call", app.output_filter.allowed)
        line = json.dumps({"jsonrpc": "2.0", "id": "call", "result": body}, separators=(",", ":"), ensure_ascii=False)
        shown = app.output_filter.filtered(line)
        if shown is None:
            return ToolError(Code.OUTPUT_BLOCKED).payload(), False
        return json.loads(shown)["result"], not answer.is_error


async def _call(
    client: Client, tool: str, arguments: Mapping[str, Any], on_progress: ProgressReporter | None
) -> tuple[CallToolResult, dict[str, Any]]:
    answer = await client.call_tool(tool, dict(arguments), progress_callback=on_progress)
    return answer, answer.structured_content or json.loads(getattr(answer.content[0], "text", "{}"))

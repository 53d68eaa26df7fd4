"""Make one tool call in memory, as a client without dialogs, for `machines-mcp call`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mcp import Client
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types import CallToolResult, Implementation

from machines_mcp import __version__
from machines_mcp.cli.progress import ProgressReporter
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol.allowance import Allowance
from machines_mcp.protocol.withheld import withheld_error, withheld_unclear
from machines_mcp.server.app import App, opened
from machines_mcp.server.settings import Settings


async def call_once(
    settings: Settings,
    tool: str,
    arguments: Mapping[str, Any],
    *,
    approves_all: bool,
    on_page: Callable[[str], None] = lambda url: None,
    on_progress: ProgressReporter | None = None,
) -> tuple[dict[str, Any], bool]:
    """Return the structured result or the error object, and whether the call succeeded.

    If the call needs approval on a page, `on_page` receives the address, and the result is the outcome of the page,
    after at most 15 minutes. The page closes with this process. `on_progress` receives progress.
    """
    who = Implementation(name="machines-mcp call", version=__version__)
    allowance = Allowance()

    async def allowing(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        return await call_next(replace(ctx, request=allowance))

    async with opened(settings, approves_all=approves_all) as app:
        server = app.server()
        server.middleware.append(allowing)
        async with Client(server, client_info=who) as client:
            answer, body = await _call(client, tool, arguments, on_progress)
            if "page" in body and "approval_id" in body:
                on_page(str(body["page"]))
                await app.page_ended(body["approval_id"])
                # If the page went unused, the approval is still waiting, and a repeated call would only open another.
                if await app.guard.channels.get(body["approval_id"]) is None:
                    again = {**arguments, "approval_id": body["approval_id"]}
                    answer, body = await _call(client, tool, again, on_progress)
            # This output does not pass through stdio, so filter it here as if it did.
            line = json.dumps(
                {"jsonrpc": "2.0", "id": "call", "result": body}, separators=(",", ":"), ensure_ascii=False
            )
            shown = app.output_filter.filtered(line, allowance.values)
            if shown is None:
                return _withheld(app, tool, succeeded=not answer.is_error), False
            return json.loads(shown)["result"], not answer.is_error


def _withheld(app: App, tool: str, *, succeeded: bool) -> dict[str, Any]:
    found = app.load().registry.tools.get(tool)
    if found is None or not succeeded:
        return withheld_unclear().payload()
    return withheld_error(tool, ActionClass.READ if found.read_only else ActionClass.WRITE).payload()


async def _call(
    client: Client, tool: str, arguments: Mapping[str, Any], on_progress: ProgressReporter | None
) -> tuple[CallToolResult, dict[str, Any]]:
    answer = await client.call_tool(tool, dict(arguments), progress_callback=on_progress)
    return answer, answer.structured_content or json.loads(getattr(answer.content[0], "text", "{}"))

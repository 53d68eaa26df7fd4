"""One call by a client without a dialog, in memory: what `machines-mcp call` does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mcp import Client

from machines_mcp.protocol.refusal import Code, Refusal
from machines_mcp.server import opened
from machines_mcp.settings import Settings


async def call_once(
    settings: Settings, tool: str, arguments: Mapping[str, Any], *, standing_yes: bool
) -> tuple[dict[str, Any], bool]:
    """The structured result, or the error's object, and whether it went well."""
    async with opened(settings, standing_yes=standing_yes) as app, Client(app.server()) as client:
        answer = await client.call_tool(tool, dict(arguments))
        body = answer.structured_content or json.loads(getattr(answer.content[0], "text", "{}"))
        # What leaves here leaves by no line, and is looked at as if it did.
        app.egress.expect("call", app.egress.expected)
        line = json.dumps({"jsonrpc": "2.0", "id": "call", "result": body}, separators=(",", ":"), ensure_ascii=False)
        shown = app.egress.inspect(line)
        if shown is None:
            return Refusal(Code.EGRESS_BLOCKED).payload(), False
        return json.loads(shown)["result"], not answer.is_error

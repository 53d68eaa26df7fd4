"""MCP Apps with the SDK's client and a server process, in both eras."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.extension import advertise

from machines_mcp.protocol.apps import EXTENSION, MIME_TYPE
from machines_mcp.tools.views import VIEWS
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.check]

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("takes", [True, False], ids=["with", "without"])
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_only_a_client_that_advertises_the_extension_gets_views(tmp_path: Path, mode: str, takes: bool) -> None:
    env = {"CI": "1", "MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path)}
    command = StdioServerParameters(command=sys.executable, args=["-m", "machines_mcp", "serve"], env=env, cwd=ROOT)
    extensions = [advertise(EXTENSION, {"mimeTypes": [MIME_TYPE]})] if takes else []
    pages = {view.uri: view.html() for view in VIEWS}
    read: dict[str, str] = {}
    with anyio.fail_after(PATIENCE):
        async with Client(stdio_client(command), mode=mode, extensions=extensions) as client:
            declared = client.server_capabilities
            tools = (await client.list_tools()).tools
            listed = {str(one.uri) for one in (await client.list_resources()).resources}
            for uri in pages:
                try:
                    (page,) = (await client.read_resource(uri)).contents
                    read[uri] = getattr(page, "text", "")
                except MCPError:
                    assert not takes
    linked = {
        tool.meta["ui"]["resourceUri"] for tool in tools if tool.meta and "resourceUri" in tool.meta.get("ui", {})
    }
    assert declared is not None
    assert declared.extensions == ({EXTENSION: {}} if takes else None)
    assert (linked, read) == ((set(pages), pages) if takes else (set(), {}))
    assert {uri for uri in listed if uri.startswith("ui:")} == (set(pages) if takes else set())

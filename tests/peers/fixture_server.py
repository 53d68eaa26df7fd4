"""The product's server over HTTP on loopback, for a suite that needs a URL. Never shipped.

`python -m tests.peers.fixture_server STATE_DIR [bare | empty]`: the first line on stdout is the address. It runs until
its standard input has a line or closes. `bare` omits the fixtures; `empty` serves an empty server of the SDK.
"""

from __future__ import annotations

import faulthandler
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.types import ASGIApp

from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings


@asynccontextmanager
async def _app(state_dir: Path, kind: str) -> AsyncIterator[ASGIApp]:
    if kind == "empty":
        yield MCPServer("empty", version="0").streamable_http_app()
        return
    # The suite's addresses have no user part, so its server is for one user.
    user = {} if kind == "bare" else {"MACHINES_USER_ID": "conformance"}
    settings = read_settings({"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(state_dir), **user})
    async with opened(settings) as app:
        if kind != "bare":
            from tests.peers.fixtures import add_fixtures

            add_fixtures(app)
        yield app.server().streamable_http_app()


async def _main(state_dir: Path, kind: str) -> None:
    async with _app(state_dir, kind) as app:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            http = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
            print(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", flush=True)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_stop_when_told, http)
                await http.serve(sockets=[listening])
                tasks.cancel_scope.cancel()


async def _stop_when_told(http: uvicorn.Server) -> None:
    await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    # Do not wait for streams that the suite left open.
    http.should_exit = http.force_exit = True


if __name__ == "__main__":
    faulthandler.enable()
    anyio.run(_main, Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")

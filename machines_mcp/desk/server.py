"""Run the desk on its own port in the server's event loop, from first use until the server ends.

Servers with the same state folder share the first one's desk, if it proves that it belongs to this folder.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from machines_mcp.desk.dependencies import DeskDependencies
from machines_mcp.storage.files import write_atomically
from machines_mcp.storage.private_folder import private_folder
from machines_mcp.web.loopback import HOST, build_uvicorn, listen_on_loopback

if TYPE_CHECKING:
    import uvicorn

ADDRESS_FILE = "desk.json"
CLOSE_SECONDS = 0.8
MAX_CONNECTIONS = 32

logger = logging.getLogger(__name__)


class Desk:
    """The desk of this server. It starts on the first call of `address`."""

    def __init__(self, dependencies: DeskDependencies) -> None:
        self._dependencies = dependencies
        self._address_file = dependencies.guard.store.folder / ADDRESS_FILE
        self._lock = anyio.Lock()
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._address = ""
        self._closing = asyncio.Event()

    async def address(self) -> str | None:
        """Return the URL of the desk, shared or started now; None if it can't start."""
        async with self._lock:
            if self._running:
                return self._address
            return await self.find() or self._start()

    async def find(self) -> str | None:
        """Return the URL of a running desk with the same state folder and policy, or None."""
        from machines_mcp.desk.peer_check import is_own_desk

        try:
            port = int(json.loads(self._address_file.read_text(encoding="ascii"))["port"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        known = self._dependencies
        return self._url(port) if await is_own_desk(known.key, known.fingerprint, port) else None

    async def close(self) -> None:
        """Stop the desk within a second. Safe to call twice."""
        server, task, self._server, self._task = self._server, self._task, None, None
        if server is None or task is None:
            return
        self._remove_address()
        self._closing.set()
        server.should_exit = True
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await asyncio.wait([task])
        task.cancel()
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await asyncio.wait([task])
        # Some uvicorn versions leave the port open if they are stopped before they have started.
        for listening in getattr(server, "servers", ()):
            listening.close()

    @property
    def _running(self) -> bool:
        return self._task is not None and not self._task.done()

    def _start(self) -> str | None:
        from machines_mcp.desk.app import build_app

        try:
            listener = listen_on_loopback(MAX_CONNECTIONS)
        except OSError:
            logger.error("the desk could not start: no port on 127.0.0.1 is available")
            return None
        port = listener.getsockname()[1]
        # Signals end the MCP server, which then stops the desk.
        self._closing = asyncio.Event()
        app = build_app(self._dependencies, port, self._closing)
        self._server = build_uvicorn(app, max_connections=MAX_CONNECTIONS, handle_signals=False)
        # Not in a request's task group: the desk outlives the call that started it.
        self._task = asyncio.get_running_loop().create_task(self._server.serve([listener]))
        self._task.add_done_callback(_log_failure)
        self._address = self._url(port)
        self._write_address(port)
        return self._address

    def _url(self, port: int) -> str:
        return f"http://{HOST}:{port}{self._dependencies.base_path}/"

    def _write_address(self, port: int) -> None:
        """Write the address for other servers and commands. If that fails, this desk still works."""
        text = json.dumps({"address": self._address, "port": port, "pid": os.getpid()})
        try:
            private_folder(self._address_file.parent)
            write_atomically(self._address_file, text.encode("ascii"))
        except OSError:
            logger.error("the desk's address could not be written, so other programs can't find it")

    def _remove_address(self) -> None:
        with suppress(OSError, ValueError):
            if json.loads(self._address_file.read_text(encoding="ascii")).get("address") == self._address:
                self._address_file.unlink()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("the desk stopped with %s", type(task.exception()).__name__)

"""Run the desk on its own port in the server's event loop, from first use until the server ends.

Servers with the same state folder share the first one's desk, if it proves that it belongs to this folder. When that
server ends, another one that has given the address to somebody serves the desk at the same address.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from machines_mcp.desk.dependencies import DeskDependencies
from machines_mcp.desk.peer_check import is_own_desk
from machines_mcp.storage.desk_note import ADDRESS_FILE, GivenPorts, noted_port
from machines_mcp.storage.files import write_atomically
from machines_mcp.storage.private_folder import private_folder
from machines_mcp.web.loopback import HOST, build_uvicorn, listen_on_loopback

if TYPE_CHECKING:
    import uvicorn

CLOSE_SECONDS = 0.8
MAX_CONNECTIONS = 32
WATCH_SECONDS = 1.0
MAX_MISSES = 3
"""How often in a row a port may answer nothing of ours and refuse us, before it is taken by another program."""
SETTLE_SECONDS = 0.3

logger = logging.getLogger(__name__)


class Desk:
    """The desk of this server. It starts on the first call of `address`, on the fixed `port` if there is one."""

    def __init__(self, dependencies: DeskDependencies, port: int | None = None) -> None:
        self._dependencies = dependencies
        self._port = port or 0
        """The port to serve at, and to keep once its address was given to somebody; 0 is any free one."""
        self._watcher: asyncio.Task[None] | None = None
        guard = dependencies.guard
        self._address_file = guard.store.folder / ADDRESS_FILE
        self._given = GivenPorts(guard.store.folder, guard.locks, dependencies.fingerprint)
        self._noted = 0
        self._lock = anyio.Lock()
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._address = ""
        self._closing = asyncio.Event()

    async def address(self) -> str | None:
        """Return the URL of the desk, shared or started now; None if it can't start."""
        async with self._lock:
            found = self._address if self._running else await self._found_or_started()
            if found is not None:
                await self._note_given()
            if found is not None and self._watcher is None:
                self._watcher = asyncio.get_running_loop().create_task(self._keep_address())
                self._watcher.add_done_callback(_log_failure)
            return found

    async def _found_or_started(self) -> str | None:
        found = await self.find()
        if found is not None:
            self._port = urlsplit(found).port or 0
            return found
        if not self._port:
            # Another server may be about to serve the desk at the address that it gave.
            with suppress(OSError):
                given = await anyio.to_thread.run_sync(self._given.find)
                self._port = given or 0
        return self._start(self._port) or await self._move()

    async def _note_given(self) -> None:
        """Note that this server gave the address to somebody, so that one that starts later keeps it, too."""
        if self._noted == self._port:
            return
        with suppress(OSError):  # then only this server keeps the address
            await anyio.to_thread.run_sync(self._given.note, self._port)
            self._noted = self._port

    async def _move(self) -> str | None:
        """Serve the desk at a new port, because another program has its port, unless another server does already."""
        if not self._port:
            logger.error("the desk could not start: no port on 127.0.0.1 is available")
            return None
        await anyio.sleep(SETTLE_SECONDS)  # another server of the folder may have bound it and not answer yet
        found = await self.find()
        if found is not None:
            self._port = urlsplit(found).port or 0
            return found
        return self._start(0, taken=self._port)

    async def _keep_address(self) -> None:
        """Serve the desk here as soon as no server does, at the address that was given to somebody."""
        misses = 0
        known = self._dependencies
        while True:
            await anyio.sleep(WATCH_SECONDS)
            async with self._lock:
                if self._running or await is_own_desk(known.key, known.fingerprint, self._port):
                    misses = 0
                elif self._start(self._port) is None:
                    misses += 1
                    if misses >= MAX_MISSES:
                        misses = 0
                        await self._move()
                        await self._note_given()

    async def find(self) -> str | None:
        """Return the URL of a running desk with the same state folder and policy, or None."""
        port = noted_port(self._address_file.parent, "port")
        if port is None:
            return None
        known = self._dependencies
        return self._url(port) if await is_own_desk(known.key, known.fingerprint, port) else None

    def taken_port(self) -> int | None:
        """Return the port that another program took from the desk which the folder notes; None if none did."""
        return noted_port(self._address_file.parent, "taken")

    async def close(self) -> None:
        """Stop the desk within a second. Safe to call twice."""
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        if self._noted:
            self._noted = 0
            with suppress(OSError):
                await anyio.to_thread.run_sync(self._given.forget)
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

    def _start(self, port: int, taken: int | None = None) -> str | None:
        """Serve the desk at this port, or return None if it is not available."""
        from machines_mcp.desk.app import build_app

        try:
            listener = listen_on_loopback(MAX_CONNECTIONS, port)
        except OSError:
            return None
        self._port = port = listener.getsockname()[1]
        # Signals end the MCP server, which then stops the desk.
        self._closing = asyncio.Event()
        app = build_app(self._dependencies, port, self._closing)
        self._server = build_uvicorn(app, max_connections=MAX_CONNECTIONS, handle_signals=False)
        # Not in a request's task group: the desk outlives the call that started it.
        self._task = asyncio.get_running_loop().create_task(self._server.serve([listener]))
        self._task.add_done_callback(_log_failure)
        self._address = self._url(port)
        self._write_address(port, taken)
        return self._address

    def _url(self, port: int) -> str:
        return f"http://{HOST}:{port}{self._dependencies.base_path}/"

    def _write_address(self, port: int, taken: int | None) -> None:
        """Write the address for other servers and commands. If that fails, this desk still works."""
        text = json.dumps({"address": self._address, "port": port, "pid": os.getpid(), "taken": taken})
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

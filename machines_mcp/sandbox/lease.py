"""A lease: the process lives while its stdin is open or somebody holds a connection to the lease port.

The operating system closes both when a holder dies, however it dies, so no holder can leave the sandbox behind.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import threading
from collections.abc import Callable

# How long a process whose stdin was never a lease (/dev/null) waits for its first connection.
_FIRST_HOLDER_SECONDS = 5.0


class Lease:
    """Counts the holders, and calls `expire` once when the last one is gone. Must be used on the event loop."""

    def __init__(self, expire: Callable[[], None]) -> None:
        self._expire = expire
        # The first line on each connection: by it a holder knows that the port is still this process's.
        self.instance = secrets.token_hex(16)
        self._connections: set[asyncio.StreamWriter] = set()
        self._stdin_open = True
        self._server: asyncio.Server | None = None
        self._grace: asyncio.TimerHandle | None = None

    async def start(self) -> int:
        """Begin to watch; the answer is the lease port on 127.0.0.1."""
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._hold, sock=listener)
        if _at_end_from_the_start():
            self._stdin_open = False
            self._grace = loop.call_later(_FIRST_HOLDER_SECONDS, self._check)
        else:
            threading.Thread(target=self._watch_stdin, args=(loop,), daemon=True).start()
        port: int = listener.getsockname()[1]
        return port

    async def stop(self) -> None:
        """Let all holders go."""
        if self._grace is not None:
            self._grace.cancel()
        if self._server is not None:
            self._server.close()
        for writer in self._connections:
            writer.close()

    def _watch_stdin(self, loop: asyncio.AbstractEventLoop) -> None:
        # A thread, because stdin may be something that the event loop can't poll.
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        try:
            loop.call_soon_threadsafe(self._stdin_closed)
        except RuntimeError:
            return  # The loop has ended meanwhile: there is nothing left to expire.

    def _stdin_closed(self) -> None:
        self._stdin_open = False
        self._check()

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            writer.write(f"{self.instance}\n".encode())
            while await reader.read(4096):
                pass
        except ConnectionError:
            pass
        finally:
            self._connections.discard(writer)
            writer.close()
            self._check()

    def _check(self) -> None:
        if not self._stdin_open and not self._connections:
            self._expire()


def _at_end_from_the_start() -> bool:
    """Whether stdin is the null device: at its end, yet nobody has let go of it."""
    try:
        return os.path.samestat(os.fstat(0), os.stat(os.devnull))
    except OSError:
        return True

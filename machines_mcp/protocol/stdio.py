"""MCP over stdin and stdout on the event loop: no worker thread between the pipe and the SDK.

The SDK's own `stdio_server` does the framing; what it reads from and writes to are the two ends built here. Stray
output of libraries and children can't reach the wire: the real descriptors are moved away before anything runs.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

import anyio
import anyio.to_thread
from mcp.server.stdio import stdio_server
from pydantic_core import from_json

from machines_mcp.protocol.wire import PARSE_ERROR, Wire, invalid_request, kind

CHUNK = 64 * 1024
MAX_LINE = 4 * 1024 * 1024
PIPE_DRAIN_SECONDS = 1.5
FILE_DRAIN_SECONDS = 60.0


@asynccontextmanager
async def serve_stdio(wire: Wire) -> AsyncIterator[tuple[Any, Any]]:
    """The SDK's stream pair over this process's stdin and stdout.

    After the last line of a pipe, calls under way have 1.5 s to be answered (the client has gone); after the last
    line of a file, 60 s (a script wants its answers).
    """
    source, sink = _claim(0, os.open(os.devnull, os.O_RDONLY)), _claim(1, os.dup(2))
    writer = LineWriter(wire, await _open_sink(sink))
    reader = LineReader(
        await _open_reader(source), writer, FILE_DRAIN_SECONDS if _is_file(source) else PIPE_DRAIN_SECONDS
    )
    # The SDK only iterates the one and calls write and flush of the other.
    async with stdio_server(stdin=cast(Any, reader), stdout=cast(Any, writer)) as streams:
        yield streams


class Sink(Protocol):
    """Where bytes go. `write` returns when more can be taken; `ready` when what was written before has been."""

    async def write(self, data: bytes) -> None: ...

    async def ready(self) -> None: ...


class LineWriter:
    """The one place where lines leave."""

    def __init__(self, wire: Wire, sink: Sink) -> None:
        self._wire = wire
        self._sink = sink
        self._unanswered = 0
        self._settled: anyio.Event | None = None

    async def write(self, line: str) -> None:
        """Send one finished line."""
        if kind(line) in ("result", "error"):
            self.count(-1)
        await self.send(line)

    async def send(self, line: str) -> None:
        """Send a line that answers no request which was counted."""
        line = self._wire.outgoing(line)
        if line:
            await self._sink.write(line.encode("utf-8", "backslashreplace"))

    async def flush(self) -> None:
        """Nothing is held back."""

    async def ready(self) -> None:
        """Wait while the client does not read."""
        await self._sink.ready()

    def count(self, change: int) -> None:
        """Keep count of the requests without an answer."""
        self._unanswered = max(0, self._unanswered + change)
        if self._unanswered == 0 and self._settled is not None:
            self._settled.set()

    async def settled(self) -> None:
        """Wait until every counted request is answered."""
        while self._unanswered:
            self._settled = anyio.Event()
            await self._settled.wait()


class LineReader:
    """Lines of JSON-RPC. Those that are none are answered here, since the SDK passes over them in silence."""

    def __init__(self, read: Callable[[], Awaitable[bytes]], writer: LineWriter, drain_seconds: float) -> None:
        self._read = read
        self._writer = writer
        self._drain_seconds = drain_seconds
        self._lines: deque[bytes] = deque()
        self._rest = b""

    def __aiter__(self) -> LineReader:
        return self

    async def __anext__(self) -> str:
        while True:
            # A client that does not read its answers is not read from either.
            await self._writer.ready()
            line = await self._next_line()
            if line is None:
                await self._drain()
                raise StopAsyncIteration
            text = await self._checked(line)
            if text is not None:
                return text

    async def _next_line(self) -> bytes | None:
        while not self._lines:
            chunk = await self._read()
            if not chunk:
                last, self._rest = self._rest, b""
                return last or None
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._lines.extend(lines)
            if len(self._rest) > MAX_LINE:
                self._rest = b""
                await self._writer.send(PARSE_ERROR)
        return self._lines.popleft()

    async def _checked(self, line: bytes) -> str | None:
        if not line.strip():
            return None
        try:
            message = from_json(line)
        except ValueError:
            await self._writer.send(PARSE_ERROR)
            return None
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not _is_message(message):
            await self._writer.send(invalid_request(message))
            return None
        if message.get("method") == "notifications/cancelled":
            self._writer.count(-1)
        elif "method" in message and "id" in message:
            self._writer.count(+1)
        return line.decode("utf-8", "replace")

    async def _drain(self) -> None:
        with anyio.move_on_after(self._drain_seconds):
            await self._writer.settled()


def _is_message(message: dict[Any, Any]) -> bool:
    given = message.get("id")
    known = given is None or (isinstance(given, int | str) and not isinstance(given, bool))
    if "method" in message:
        return isinstance(message["method"], str) and known and isinstance(message.get("params", {}), dict)
    return known and ("result" in message or "error" in message)


def _claim(fd: int, stand_in: int) -> int:
    """Move a standard descriptor out of everybody's reach and put `stand_in` in its place."""
    while (private := os.dup(fd)) <= 2:
        pass
    os.set_inheritable(private, False)
    os.dup2(stand_in, fd)
    os.close(stand_in)
    return private


def _is_pipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return sys.platform != "win32" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


async def _open_reader(fd: int) -> Callable[[], Awaitable[bytes]]:
    if not _is_pipe(fd):
        return lambda: anyio.to_thread.run_sync(os.read, fd, CHUNK, abandon_on_cancel=True)
    stream = asyncio.StreamReader(limit=CHUNK)
    pipe = os.fdopen(fd, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
    return lambda: stream.read(CHUNK)


async def _open_sink(fd: int) -> Sink:
    if not _is_pipe(fd):
        return _FileSink(fd)
    pipe = os.fdopen(fd, "wb", buffering=0)
    transport, sink = await asyncio.get_running_loop().connect_write_pipe(_PipeSink, pipe)
    sink.transport = transport
    return sink


class _FileSink:
    """A file, a terminal, or a pipe on Windows: written by a worker thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def write(self, data: bytes) -> None:
        await anyio.to_thread.run_sync(self._write, data)

    async def ready(self) -> None:
        """A write returns only when it is done."""

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]


class _PipeSink(asyncio.BaseProtocol):
    """A pipe or socket, written by the event loop; knows when it is full, free again, or gone."""

    transport: asyncio.WriteTransport

    def __init__(self) -> None:
        self._free = asyncio.Event()
        self._free.set()
        self._lost = False

    async def write(self, data: bytes) -> None:
        if self._lost:
            raise anyio.BrokenResourceError
        self.transport.write(data)
        await self.ready()

    async def ready(self) -> None:
        if not self._free.is_set():
            await self._free.wait()

    def pause_writing(self) -> None:
        self._free.clear()

    def resume_writing(self) -> None:
        self._free.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._free.set()

"""MCP over stdin and stdout on the event loop: no worker thread between the pipe and the SDK.

The SDK's own `stdio_server` does the framing; what it reads from and writes to are the two ends built here. Stray
output of libraries and children can't reach the wire: the real descriptors are moved away before anything runs.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
from mcp.server.stdio import stdio_server
from pydantic_core import from_json

from machines_mcp.protocol.jsonrpc import PARSE_ERROR, OutgoingLines, answered_id, invalid_request, is_id
from machines_mcp.protocol.pipes import Sink, claim, is_file, open_reader, open_sink

MAX_LINE = 4 * 1024 * 1024
PIPE_DRAIN_SECONDS = 1.5
FILE_DRAIN_SECONDS = 60.0

# Answered when it ends, which may be never: nobody waits for that after the last line.
_ENDLESS = ("subscriptions/listen",)


@asynccontextmanager
async def serve_stdio(
    wire: OutgoingLines, *, left: Callable[[], None], lost: Callable[[], None]
) -> AsyncIterator[tuple[Any, Any]]:
    """The SDK's stream pair over this process's stdin and stdout.

    After the last line of a pipe, calls under way have 1.5 s to be answered (the client has gone); after the last
    line of a file, 60 s (a script wants its answers). `left` is called when there is nothing more to read, even while
    answers can't be written; `lost` when nobody reads them any more.
    """
    source, target = claim(0, os.open(os.devnull, os.O_RDONLY)), claim(1, os.dup(2))
    writer = LineWriter(wire, await open_sink(target, lost))
    drain_seconds = FILE_DRAIN_SECONDS if is_file(source) else PIPE_DRAIN_SECONDS
    reader = LineReader(await open_reader(source, left), writer, drain_seconds, left)
    # The SDK only iterates the one and calls write and flush of the other.
    async with stdio_server(stdin=cast(Any, reader), stdout=cast(Any, writer)) as streams:
        yield streams


class LineWriter:
    """The one place where lines leave."""

    def __init__(self, wire: OutgoingLines, sink: Sink) -> None:
        self._wire = wire
        self._sink = sink
        self._awaited: set[int | str] = set()
        self._settled: anyio.Event | None = None

    async def write(self, line: str) -> None:
        """Send one finished line."""
        answered = answered_id(line)
        await self.send(line)
        if answered is not None:
            self.settle(answered)

    async def send(self, line: str) -> None:
        """Send a line that answers no request which was expected."""
        line = self._wire.outgoing(line)
        if line:
            await self._sink.write(line.encode("utf-8", "backslashreplace"))

    async def flush(self) -> None:
        """Nothing is held back."""

    async def ready(self) -> None:
        """Wait while the client does not read."""
        await self._sink.ready()

    def expect(self, request_id: int | str) -> None:
        """A request came that will be answered."""
        self._awaited.add(request_id)

    def settle(self, request_id: int | str) -> None:
        """It was answered, or its caller has cancelled it and will get no answer."""
        self._awaited.discard(request_id)
        if not self._awaited and self._settled is not None:
            self._settled.set()

    async def settled(self) -> None:
        """Wait until every request that was expected is settled."""
        while self._awaited:
            self._settled = anyio.Event()
            await self._settled.wait()


class LineReader:
    """Lines of JSON-RPC. Those that are none are answered here, since the SDK passes over them in silence."""

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        writer: LineWriter,
        drain_seconds: float,
        left: Callable[[], None],
    ) -> None:
        self._read = read
        self._writer = writer
        self._drain_seconds = drain_seconds
        self._left = left
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._overlong = False

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
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            if whole and self._overlong:
                # The end of the line that was refused when it had grown too long.
                del whole[0]
                self._overlong = False
            self._lines.extend(whole)
            await self._check_length()
        return self._lines.popleft()

    async def _check_length(self) -> None:
        if self._overlong:
            self._rest = b""
        elif len(self._rest) > MAX_LINE:
            self._rest, self._overlong = b"", True
            await self._writer.send(PARSE_ERROR)

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
            self._settle_cancelled(message)
        elif "method" in message and "id" in message and message["method"] not in _ENDLESS:
            self._writer.expect(message["id"])
        return line.decode("utf-8", "replace")

    def _settle_cancelled(self, message: dict[Any, Any]) -> None:
        cancelled = message.get("params", {}).get("requestId")
        if is_id(cancelled):
            self._writer.settle(cancelled)

    async def _drain(self) -> None:
        with anyio.move_on_after(self._drain_seconds):
            await self._writer.settled()
        self._left()


def _is_message(message: dict[Any, Any]) -> bool:
    if "method" in message:
        known = "id" not in message or is_id(message["id"])
        return known and isinstance(message["method"], str) and isinstance(message.get("params", {}), dict)
    return ("result" in message or "error" in message) and (message.get("id") is None or is_id(message["id"]))

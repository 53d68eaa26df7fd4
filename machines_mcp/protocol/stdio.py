"""Serve MCP over stdin and stdout on the event loop, without worker threads or streams between the pipe and a request.

The real descriptors are moved away first, so stray output of libraries and child processes can't reach the client.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import anyio
from pydantic_core import from_json

from machines_mcp.protocol.allowance import NOTHING, Allowance
from machines_mcp.protocol.jsonrpc import OutgoingLines, invalid_request, is_id, parse_error
from machines_mcp.protocol.pipes import CHUNK, Sink, Source, claim, is_file, open_sink, open_source

MAX_LINE = 4 * 1024 * 1024
PIPE_DRAIN_SECONDS = 1.5
FILE_DRAIN_SECONDS = 60.0

MAX_AT_ONCE = 64
"""How many messages are passed on before their responses are looked at."""

Received: TypeAlias = Callable[[dict[str, Any]], Awaitable[object] | None]
"""Takes a message. What it returns ends before the next message comes."""


@asynccontextmanager
async def open_stdio(
    wire: OutgoingLines, *, left: Callable[[], None], lost: Callable[[], None]
) -> AsyncIterator[tuple[LineReader, LineWriter]]:
    """Yield a reader and a writer of this process's stdin and stdout.

    After the last line of a pipe, running calls have 1.5 s to finish, because the client has gone. After the last line
    of a file, they have 60 s, because a script wants its responses. `left` is called at the end of input, even while
    responses can't be written; `lost` when the client closes its end of the output.
    """
    source, target = claim(0, os.open(os.devnull, os.O_RDONLY)), claim(1, os.dup(2))
    writer = LineWriter(wire, await open_sink(target, lost))
    drain_seconds = FILE_DRAIN_SECONDS if is_file(source) else PIPE_DRAIN_SECONDS
    yield LineReader(open_source(source, left), writer, drain_seconds, left), writer
    await writer.ready()


class LineWriter:
    """Writes every line that leaves the server. Lines of one turn of the event loop are written at once."""

    def __init__(self, wire: OutgoingLines, sink: Sink) -> None:
        self._wire = wire
        self._sink = sink
        self._lines: list[bytes] = []

    @property
    def free(self) -> bool:
        """Whether the client reads what is written."""
        return self._sink.free

    def write(
        self, line: str, allowance: Allowance = NOTHING, *, read_once: str | None = None, now: bool = False
    ) -> None:
        """Send one finished line. `read_once`: see `OutputFilter.filtered`.

        `now`: no other line will be finished in this turn of the event loop.
        """
        line = self._wire.outgoing(line, allowance, read_once)
        if line:
            if not self._lines and not now:
                asyncio.get_running_loop().call_soon(self._flush)
            self._lines.append(line.encode("utf-8", "backslashreplace"))
            if now:
                self._flush()

    def _flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self._sink.write(b"".join(lines))

    async def ready(self) -> None:
        """Wait until earlier output has been written."""
        self._flush()
        await self._sink.ready()


class LineReader:
    """Reads JSON-RPC messages, a line each. It answers malformed lines itself."""

    def __init__(self, source: Source, writer: LineWriter, drain_seconds: float, left: Callable[[], None]) -> None:
        self._source = source
        self._writer = writer
        self._drain_seconds = drain_seconds
        self._left = left
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._overlong = False
        self._waiting = 0
        self._held: asyncio.Task[None] | None = None

    async def run(self, received: Received) -> None:
        """Pass on each message until the input ends.

        If `received` returns something to wait for, the next message comes after it.
        """
        await self._source.run(lambda chunk: self._feed(chunk, received))
        # The last line may have no end.
        self._add([self._rest])
        self._pass_on(received)
        while self._held is not None:
            await asyncio.wait([self._held])

    async def drain(self, answered: Awaitable[None]) -> None:
        """After the last message, wait a bounded time until all is `answered` and written."""
        with anyio.move_on_after(self._drain_seconds):
            await answered
            await self._writer.ready()
        self._left()

    def _feed(self, chunk: bytes, received: Received) -> None:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if whole and self._overlong:
            # The rest of an overlong line that was already refused.
            del whole[0]
            self._overlong = False
        self._add(whole)
        self._check_length()
        self._pass_on(received)
        if self._held is not None and self._waiting > CHUNK:
            self._source.pause()

    def _add(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            if line.strip():
                self._lines.append(line)
                self._waiting += len(line)

    def _pass_on(self, received: Received) -> None:
        passed = 0
        while self._lines and self._held is None:
            if not self._writer.free:
                # Back-pressure: do not serve a client that does not read its responses.
                wait: Awaitable[object] | None = self._writer.ready()
            elif passed == MAX_AT_ONCE:
                # Let these be answered first.
                wait = asyncio.sleep(0)
            else:
                line = self._lines.popleft()
                self._waiting -= len(line)
                message = self._checked(line)
                wait = None if message is None else received(message)
                passed += 1
            if wait is not None:
                self._held = asyncio.get_running_loop().create_task(self._hold(wait, received))

    async def _hold(self, wait: Awaitable[object], received: Received) -> None:
        await wait
        self._held = None
        self._pass_on(received)
        if self._held is None:
            self._source.resume()

    def _check_length(self) -> None:
        if self._overlong:
            self._rest = b""
        elif len(self._rest) > MAX_LINE:
            beginning, self._rest, self._overlong = self._rest, b"", True
            self._writer.write(parse_error(beginning))

    def _checked(self, line: bytes) -> dict[str, Any] | None:
        try:
            # Values in the parser's cache would stay in memory until the process ends.
            message = from_json(line, cache_strings="keys")
        except ValueError:
            self._writer.write(parse_error(line))
            return None
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not _is_message(message):
            self._writer.write(invalid_request(message))
            return None
        return message


def _is_message(message: dict[Any, Any]) -> bool:
    if "method" in message:
        known = "id" not in message or is_id(message["id"])
        return known and isinstance(message["method"], str) and isinstance(message.get("params", {}), dict)
    return ("result" in message or "error" in message) and (message.get("id") is None or is_id(message["id"]))

"""Serve MCP over stdin and stdout on the event loop, without worker threads or streams between the pipe and a request.

The real descriptors are moved away first, so stray output of libraries and child processes can't reach the client.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
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

# Its response comes when the stream ends, maybe never, so draining does not wait for it.
_ENDLESS = ("subscriptions/listen",)

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
        self._awaited: set[int | str] = set()
        self._all_answered: anyio.Event | None = None

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

    def expect(self, request_id: int | str) -> None:
        """Note a request that needs a response."""
        self._awaited.add(request_id)

    def mark_answered(self, request_id: int | str) -> None:
        """Mark a request as answered, or as cancelled and never answered."""
        self._awaited.discard(request_id)
        if not self._awaited and self._all_answered is not None:
            self._all_answered.set()

    async def all_answered(self) -> None:
        """Wait until every noted request is answered or cancelled."""
        while self._awaited:
            self._all_answered = anyio.Event()
            await self._all_answered.wait()


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
        self._held: asyncio.Task[None] | None = None

    async def run(self, received: Received) -> None:
        """Pass on each message until the input ends, and wait a bounded time for the responses.

        If `received` returns something to wait for, the next message comes after it.
        """
        await self._source.run(lambda chunk: self._feed(chunk, received))
        # The last line may have no end.
        self._lines.append(self._rest)
        self._pass_on(received)
        while self._held is not None:
            await asyncio.wait([self._held])
        await self._drain()

    def _feed(self, chunk: bytes, received: Received) -> None:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if whole and self._overlong:
            # The rest of an overlong line that was already refused.
            del whole[0]
            self._overlong = False
        self._lines.extend(whole)
        self._check_length()
        self._pass_on(received)
        if self._held is not None and sum(map(len, self._lines)) > CHUNK:
            self._source.pause()

    def _pass_on(self, received: Received) -> None:
        while self._lines and self._held is None:
            message = self._checked(self._lines.popleft())
            wait = None if message is None else received(message)
            if wait is None and not self._writer.free:
                # Back-pressure: do not serve a client that does not read its responses.
                wait = self._writer.ready()
            if wait is not None:
                self._held = asyncio.get_running_loop().create_task(self._hold(wait, received))

    async def _hold(self, wait: Awaitable[object], received: Received) -> None:
        await wait
        self._held = None
        self._source.resume()
        self._pass_on(received)

    def _check_length(self) -> None:
        if self._overlong:
            self._rest = b""
        elif len(self._rest) > MAX_LINE:
            beginning, self._rest, self._overlong = self._rest, b"", True
            self._writer.write(parse_error(beginning))

    def _checked(self, line: bytes) -> dict[str, Any] | None:
        if not line.strip():
            return None
        try:
            # Values in the parser's cache would stay in memory until the process ends.
            message = from_json(line, cache_strings="keys")
        except ValueError:
            self._writer.write(parse_error(line))
            return None
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not _is_message(message):
            self._writer.write(invalid_request(message))
            return None
        if message.get("method") == "notifications/cancelled":
            self._mark_cancelled(message)
        elif "method" in message and "id" in message and message["method"] not in _ENDLESS:
            self._writer.expect(message["id"])
        return message

    def _mark_cancelled(self, message: dict[Any, Any]) -> None:
        cancelled = message.get("params", {}).get("requestId")
        if is_id(cancelled):
            self._writer.mark_answered(cancelled)

    async def _drain(self) -> None:
        with anyio.move_on_after(self._drain_seconds):
            await self._writer.all_answered()
            await self._writer.ready()
        self._left()


def _is_message(message: dict[Any, Any]) -> bool:
    if "method" in message:
        known = "id" not in message or is_id(message["id"])
        return known and isinstance(message["method"], str) and isinstance(message.get("params", {}), dict)
    return ("result" in message or "error" in message) and (message.get("id") is None or is_id(message["id"]))

"""One server process over a state folder, with many concurrent calls, until it is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crashes.child import StartOrder
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
ERA = "2026-07-28"
_CLIENT = {"name": "crashes", "version": "1.0"}
_MAX_BYTES = 1 << 20


class ServerGone(Exception):
    """The server ended before it responded."""


class ForkServer:
    """The process that forks servers; see `child.py`."""

    def __init__(self, process: Process, channel: socket.socket) -> None:
        self._process = process
        self._channel = channel
        self._one = asyncio.Lock()

    async def fork(self, order: StartOrder, descriptors: list[int]) -> int:
        """Fork a server with these four descriptors and return its process id."""
        loop = asyncio.get_running_loop()
        async with self._one:
            socket.send_fds(self._channel, [order.line().encode() + b"\n"], descriptors)
            async with asyncio.timeout(PATIENCE):
                return int(await loop.sock_recv(self._channel, 64))


@asynccontextmanager
async def fork_server() -> AsyncIterator[ForkServer]:
    """Run a fork server until the block ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.crashes.child", str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            cwd=ROOT,
        )
        theirs.close()
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.get_running_loop().sock_recv(ours, 64)
            yield ForkServer(process, ours)
        finally:
            ours.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


@dataclass
class ServerProcess:
    """A running server. `folder` receives its `stdout`, its `stderr` and the failpoints it passed (`points`)."""

    pid: int
    folder: Path
    writer: asyncio.WriteTransport
    reader: asyncio.StreamReader
    on_answer: Callable[[int], None]
    """Called with the number of responses after each one."""
    began: float = field(default_factory=time.monotonic)
    answers: int = 0
    killed_by_us: bool = False
    unanswered: int = 0
    """The number of calls without a response at its end."""
    _waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _next: int = 0

    def __post_init__(self) -> None:
        self._reading = asyncio.create_task(self._read())

    @property
    def over(self) -> bool:
        """Whether its output has ended."""
        return self._reading.done()

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, dialog: bool = False, **more: Any
    ) -> dict[str, Any]:
        """Call a tool and return the result. `dialog`: the client can ask its person itself.

        Raises:
            Gone: The server ended without a response.
        """
        self._next += 1
        number, found = self._next, asyncio.get_running_loop().create_future()
        if self.over:
            raise ServerGone
        self._waiting[number] = found
        meta = {
            "io.modelcontextprotocol/protocolVersion": ERA,
            "io.modelcontextprotocol/clientInfo": _CLIENT,
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}} if dialog else {},
        }
        params = {"name": tool, "arguments": dict(arguments), "_meta": meta} | more
        line = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
        self.writer.write(line.encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            message: dict[str, Any] = await found
        result: dict[str, Any] = message["result"]
        return result

    def kill(self) -> None:
        """Send SIGKILL."""
        if not self.over:
            self.killed_by_us = True
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close_stdin(self) -> None:
        """Close its stdin, as a client does when it exits."""
        self.writer.close()

    async def ended(self) -> None:
        """Wait until its stdout is closed."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.shield(self._reading)
        self.writer.close()

    async def _read(self) -> None:
        with (self.folder / "stdout").open("ab") as kept, suppress(ConnectionError):
            while line := await self.reader.readline():
                kept.write(line)
                # A line without its end is not a response.
                if line.endswith(b"\n"):
                    self._take(json.loads(line))
        self.unanswered = len(self._waiting)
        for found in self._waiting.values():
            if not found.done():
                found.set_exception(ServerGone())
                # Retrieve the exception, in case no caller waits any more.
                found.exception()
        self._waiting.clear()

    def _take(self, message: dict[str, Any]) -> None:
        found = self._waiting.pop(message.get("id", 0), None)
        if found is not None and not found.done():
            self.answers += 1
            found.set_result(message)
            self.on_answer(self.answers)

    def passed(self) -> Counter[str]:
        """Count the passes of each failpoint so far."""
        return Counter(self._points())

    def last_point(self) -> str | None:
        """Return the last failpoint passed."""
        names = self._points()
        return names[-1] if names else None

    def _points(self) -> list[str]:
        return (self.folder / f"points-{self.pid}").read_text(encoding="ascii").split()


async def start_server(
    forks: ForkServer, order: StartOrder, folder: Path, on_answer: Callable[[int], None]
) -> ServerProcess:
    """Start a server over the folder that the order's environment names."""
    loop = asyncio.get_running_loop()
    to_read, to_write = os.pipe(), os.pipe()
    trace = folder / "points-new"
    with (folder / "stderr").open("ab") as stderr, trace.open("wb") as points:
        pid = await forks.fork(order, [to_read[0], to_write[1], stderr.fileno(), points.fileno()])
    os.close(to_read[0])
    os.close(to_write[1])
    trace.rename(folder / f"points-{pid}")
    reader = asyncio.StreamReader(limit=_MAX_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(to_write[0], "rb", 0))
    writer, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(to_read[1], "wb", 0))
    return ServerProcess(pid, folder, writer, reader, on_answer)

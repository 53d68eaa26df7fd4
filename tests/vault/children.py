"""Child processes that stand in for the vault, and a connection through which a test watches one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.support.loopback import serve_connections
from tests.support.readable import is_readable
from tests.support.waiting import PATIENCE

_REPORT = """
import json, os, socket, sys, time
line = socket.create_connection(("127.0.0.1", {port}))
line.sendall(json.dumps({{"pid": os.getpid(), "environ": dict(os.environ), "argv": sys.orig_argv,
    "session": os.getsid(0), "descriptors": sorted(map(int, os.listdir("/dev/fd")))}}).encode() + b"\\n")
{rest}
"""


def program(source: str) -> tuple[str, ...]:
    """Return the command of a child that runs this source, isolated like the vault."""
    return (sys.executable, "-I", "-c", source)


def dies_with(parent: subprocess.Popen[bytes], pid: int) -> bool:
    """Kill the parent and return whether the process `pid` dies too, even if it is stuck. Linux only."""
    opened = os.pidfd_open(pid)
    try:
        parent.kill()
        # Readable once that process has exited.
        return is_readable(opened, PATIENCE / 2)
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(opened, signal.SIGKILL)
        os.close(opened)


@dataclass
class ChildLine:
    """A child's connection to the test. The operating system closes it when the child dies."""

    stream: ByteStream

    async def report(self) -> dict[str, Any]:
        """Return the child's first line."""
        reader = BufferedByteReceiveStream(self.stream)
        return dict(json.loads(await reader.receive_until(b"\n", 65_536)))

    async def closed(self) -> None:
        """Return once the child is gone."""
        try:
            while True:
                await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


@dataclass
class Switchboard:
    """A loopback port that accepts and never responds: a slow host, or the other end of a child's line."""

    port: int
    _lines: anyio.abc.ObjectReceiveStream[ByteStream]

    async def line(self) -> ChildLine:
        """Return the next connection."""
        return ChildLine(await self._lines.receive())

    def reporting(self, rest: str) -> tuple[str, ...]:
        """Return the command of a child that reports itself and then runs `rest`."""
        return program(_REPORT.format(port=self.port, rest=rest))


@asynccontextmanager
async def switchboard() -> AsyncIterator[Switchboard]:
    send, receive = anyio.create_memory_object_stream[ByteStream](16)

    async def hold(stream: ByteStream) -> None:
        await send.send(stream)
        await anyio.sleep_forever()

    async with send, receive, serve_connections(hold) as port:
        yield Switchboard(port, receive)

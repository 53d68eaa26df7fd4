"""The ends of the process's standard streams: taken away from everybody else, read and written by the event loop.

Pipes and sockets only; a file, `/dev/null` or a terminal is read and written by a worker thread.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio.to_thread

CHUNK = 64 * 1024


class Sink(Protocol):
    """Where bytes go. `write` returns when all were taken; `ready` when what was written before has been."""

    async def write(self, data: bytes) -> None: ...

    async def ready(self) -> None: ...


def claim(fd: int, stand_in: int) -> int:
    """Move a standard descriptor out of everybody's reach, put `stand_in` in its place, and return where it went."""
    while (private := os.dup(fd)) <= 2:
        pass
    os.set_inheritable(private, False)
    os.dup2(stand_in, fd)
    os.close(stand_in)
    return private


def _is_pipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return sys.platform != "win32" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


def is_file(fd: int) -> bool:
    """Whether the descriptor is a regular file."""
    return stat.S_ISREG(os.fstat(fd).st_mode)


async def open_reader(fd: int, left: Callable[[], None]) -> Callable[[], Awaitable[bytes]]:
    """A function that reads some bytes, none at the end. Of a pipe's end `left` is told at once, whoever reads."""
    if not _is_pipe(fd):
        return lambda: anyio.to_thread.run_sync(os.read, fd, CHUNK, abandon_on_cancel=True)
    stream = _Input(left)
    pipe = os.fdopen(fd, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
    return lambda: stream.read(CHUNK)


class _Input(asyncio.StreamReader):
    """Nobody reads while answers can't be written, so the end is told of as it comes."""

    def __init__(self, left: Callable[[], None]) -> None:
        super().__init__(limit=CHUNK)
        self._left = left

    def feed_eof(self) -> None:
        super().feed_eof()
        self._left()


async def open_sink(fd: int, lost: Callable[[], None]) -> Sink:
    """Where to write. `lost` is told when nobody reads the other end of a pipe any more."""
    if not _is_pipe(fd):
        return _FileSink(fd)
    pipe = os.fdopen(fd, "wb", buffering=0)
    transport, sink = await asyncio.get_running_loop().connect_write_pipe(lambda: _PipeSink(lost), pipe)
    # A write is done when the pipe has all of it: what would stand in a buffer is lost when the process ends.
    transport.set_write_buffer_limits(high=0)
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

    def __init__(self, lost: Callable[[], None]) -> None:
        self._free = asyncio.Event()
        self._free.set()
        self._lost = lost
        self._gone = False

    async def write(self, data: bytes) -> None:
        """Write, or drop what nobody will read."""
        if not self._gone:
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
        self._gone = True
        self._free.set()
        self._lost()

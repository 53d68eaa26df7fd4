"""Claim the process's standard streams, and read and write them on the event loop.

Only pipes and sockets use the event loop; files, `/dev/null` and terminals use a worker thread.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable
from typing import Protocol, cast

import anyio.to_thread

CHUNK = 64 * 1024
LOOK_SECONDS = 1.0


class Sink(Protocol):
    """Takes bytes. `write` returns at once; `ready` when all earlier bytes are written. `free`: few bytes wait."""

    @property
    def free(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    async def ready(self) -> None: ...


def claim(fd: int, stand_in: int) -> int:
    """Move a standard descriptor to a private number, put `stand_in` in its place, and return the number."""
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


class Source(Protocol):
    """Gives bytes. `run` feeds them until their end; while paused, it feeds hardly any."""

    async def run(self, feed: Callable[[bytes], None]) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


def open_source(fd: int, left: Callable[[], None]) -> Source:
    """Return the source for a descriptor. `left` is called at a pipe's end, even while it is paused."""
    return _PipeSource(fd, left) if _is_pipe(fd) else _FileSource(fd)


class _PipeSource(asyncio.Protocol):
    """Reads a pipe or socket on the event loop."""

    _transport: asyncio.ReadTransport
    _feed: Callable[[bytes], None]
    _look: asyncio.TimerHandle | None = None

    def __init__(self, fd: int, left: Callable[[], None]) -> None:
        self._fd = fd
        self._left = left
        self._ended = asyncio.Event()

    async def run(self, feed: Callable[[bytes], None]) -> None:
        self._feed = feed
        pipe = os.fdopen(self._fd, "rb", buffering=0)
        await asyncio.get_running_loop().connect_read_pipe(lambda: self, pipe)
        await self._ended.wait()

    def pause(self) -> None:
        self._transport.pause_reading()
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_for_end)

    def resume(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._transport.resume_reading()

    def _look_for_end(self) -> None:
        """While nothing is read, the event loop does not notice that the client has gone."""
        self._look = None
        if _is_hung_up(self._fd):
            self._left()
        else:
            self.pause()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.ReadTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._feed(data)

    def eof_received(self) -> None:
        self._left()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()


class _FileSource:
    """Reads a file, a terminal, or a pipe on Windows, in a worker thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._free = asyncio.Event()
        self._free.set()

    async def run(self, feed: Callable[[bytes], None]) -> None:
        while data := await anyio.to_thread.run_sync(os.read, self._fd, CHUNK, abandon_on_cancel=True):
            feed(data)
            await self._free.wait()

    def pause(self) -> None:
        self._free.clear()

    def resume(self) -> None:
        self._free.set()


def _is_hung_up(fd: int) -> bool:
    """Whether the other end of a pipe or socket is closed."""
    import select

    ends = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)
    watch = select.poll()
    watch.register(fd, ends)
    return any(event & ends for _, event in watch.poll(0))


async def open_sink(fd: int, lost: Callable[[], None]) -> Sink:
    """Return the sink for a descriptor. `lost` is called when the other end of a pipe is closed."""
    if not _is_pipe(fd):
        return _FileSink(fd, lost)
    pipe = os.fdopen(fd, "wb", buffering=0)
    transport, sink = await asyncio.get_running_loop().connect_write_pipe(lambda: _PipeSink(lost), pipe)
    # `ready` waits until the pipe has everything: buffered bytes would be lost when the process exits.
    transport.set_write_buffer_limits(high=0)
    return sink


class _FileSink:
    """Writes to a file, a terminal, or a pipe on Windows, in a worker thread."""

    def __init__(self, fd: int, lost: Callable[[], None]) -> None:
        self._fd = fd
        self._lost = lost
        self._data = bytearray()
        self._writing: asyncio.Task[None] | None = None
        self._gone = False

    def write(self, data: bytes) -> None:
        """Write the bytes, or drop them if nobody can read them any more."""
        if self._gone:
            return
        self._data += data
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_all())

    @property
    def free(self) -> bool:
        return len(self._data) < CHUNK

    async def ready(self) -> None:
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write_all(self) -> None:
        try:
            while self._data:
                data, self._data = bytes(self._data), bytearray()
                await asyncio.to_thread(self._write, data)
        except OSError:
            self._gone = True
            self._lost()
        finally:
            self._writing = None

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]


class _PipeSink(asyncio.BaseProtocol):
    """Writes to a pipe or socket on the event loop, and tracks whether it is full or closed."""

    _transport: asyncio.WriteTransport

    def __init__(self, lost: Callable[[], None]) -> None:
        self._free = asyncio.Event()
        self._free.set()
        self._lost = lost
        self._gone = False

    def write(self, data: bytes) -> None:
        """Write the bytes, or drop them if the other end is closed."""
        if not self._gone:
            self._transport.write(data)

    @property
    def free(self) -> bool:
        return self._free.is_set()

    async def ready(self) -> None:
        if not self._free.is_set():
            await self._free.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def pause_writing(self) -> None:
        self._free.clear()

    def resume_writing(self) -> None:
        self._free.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._free.set()
        self._lost()

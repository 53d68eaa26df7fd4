"""Serve connections on loopback and close all of them at the end."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketListener, SocketStream, TaskStatus
from anyio.streams.tls import TLSStream


def accepted_socket(client: socket.socket) -> socket.socket:
    """Return a duplicate of the peer's socket, which a server in this process accepted."""
    for descriptor in map(int, os.listdir("/dev/fd")):
        try:
            found = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            continue
        try:
            if found.getpeername() == client.getsockname():
                return found
        except OSError:
            pass
        found.close()
    raise LookupError("no socket of this process is connected to that one")


Handler = Callable[[ByteStream], Awaitable[None]]
_CLOSED = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError)


@asynccontextmanager
async def serve_connections(
    handler: Handler, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve each connection with `handler` and yield the port. A handler may raise the errors of a closed stream.

    `Listener.serve` of anyio leaks a connection that it accepts while being cancelled, which is a ResourceWarning.
    Here the listener closes first, then every running handler.
    """
    (listener,) = (await anyio.create_tcp_listener(local_host=host, local_port=port)).listeners
    assert isinstance(listener, SocketListener)

    async def hold(stream: SocketStream, *, task_status: TaskStatus[None]) -> None:
        try:
            task_status.started()
            await handler(
                stream if tls is None else await TLSStream.wrap(stream, ssl_context=tls, standard_compatible=False)
            )
        except (*_CLOSED, ssl.SSLError, OSError):
            pass
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    async def accept() -> None:
        while True:
            try:
                stream = await listener.accept()
            except anyio.ClosedResourceError:
                return
            with anyio.CancelScope(shield=True):
                await handlers.start(hold, stream)

    async with anyio.create_task_group() as handlers:
        async with anyio.create_task_group() as accepting:
            accepting.start_soon(accept)
            try:
                yield int(listener.extra(SocketAttribute.local_port))  # noqa: S610
            finally:
                with anyio.CancelScope(shield=True):
                    await listener.aclose()
        handlers.cancel_scope.cancel()

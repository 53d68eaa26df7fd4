"""Listen on 127.0.0.1, and serve an ASGI application there with uvicorn."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

    from machines_mcp.web.asgi import Application

HOST = "127.0.0.1"


def listen_on_loopback(backlog: int, port: int = 0) -> socket.socket:
    """Return a listening socket on this port; 0 is any free one.

    Raises:
        OSError: The port is not available.
    """
    # asyncio sets TCP_NODELAY only on sockets created with IPPROTO_TCP.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # Lingering connections must not keep the next server from this port; both listeners need the option for
            # that. On POSIX, a port with a listener stays refused.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def build_uvicorn(app: Application, *, max_connections: int, handle_signals: bool) -> uvicorn.Server:
    """Return a server for `app`. Without `handle_signals`, SIGINT and SIGTERM are left to the caller.

    Of more than `max_connections` connections, those without a request make room.
    """
    import uvicorn

    from machines_mcp.web.connection_places import ConnectionPlaces, PlacedProtocol

    class ServerWithoutSignals(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        app,
        http=partial(PlacedProtocol, ConnectionPlaces(max_connections)),  # type: ignore[arg-type]
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        h11_max_incomplete_event_size=16 * 1024,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config) if handle_signals else ServerWithoutSignals(config)

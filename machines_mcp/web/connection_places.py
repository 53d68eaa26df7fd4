"""Bound the connections of a local page's server, so that idle ones never keep a person out.

uvicorn waits for a request head without a limit, and refuses requests once too many connections are open. Here a
connection without a request has five seconds, and gives up its place if a new one needs it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from machines_mcp.web.asgi import Application, Header, Message, Receive, Scope, Send, header_values, send_response

HEAD_SECONDS = 5.0
MAX_STREAMS = 8

_CLOSE: Header = (b"connection", b"close")
_FULL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Connection(Protocol):
    """An open connection that can be closed at any time."""

    def drop(self) -> None:
        """Close the connection."""


class ConnectionPlaces:
    """The places of one server: `most` for requests, and eight more for open event streams."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: dict[Connection, None] = {}  # the longest idle one first
        self._busy: set[Connection] = set()
        self._streams: set[Connection] = set()

    def enter(self, connection: Connection) -> bool:
        """Take a place for a new connection, if necessary the one of the longest idle. False if all have a request."""
        while len(self._idle) + len(self._busy) >= self._most:
            if not self._idle:
                return False
            longest = next(iter(self._idle))
            self.leave(longest)
            longest.drop()
        self._idle[connection] = None
        return True

    def begin(self, connection: Connection) -> None:
        """Note that a request has arrived, so that the connection keeps its place until the response is sent."""
        if connection in self._idle:
            del self._idle[connection]
            self._busy.add(connection)

    def begin_stream(self, connection: Connection) -> bool:
        """Move a connection with a request to a place for event streams. False if there is none."""
        if len(self._streams) >= MAX_STREAMS:
            return False
        self._busy.discard(connection)
        self._streams.add(connection)
        return True

    def end(self, connection: Connection) -> None:
        """Note that the response was sent, so that the connection is idle."""
        if connection in self._busy or connection in self._streams:
            self.leave(connection)
            if not self.enter(connection):
                connection.drop()

    def leave(self, connection: Connection) -> None:
        """Free the place of a closed connection."""
        self._idle.pop(connection, None)
        self._busy.discard(connection)
        self._streams.discard(connection)


class PlacedProtocol(H11Protocol):
    """uvicorn's connection, in a place of its server."""

    def __init__(self, places: ConnectionPlaces, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._places = places
        self._handle: Application = self.app
        self.app = self._run
        self._waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._places.enter(self):
            self._wait_for_head()
        else:
            transport.write(_FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._places.leave(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        self._follow_request()

    def on_response_complete(self) -> None:
        # First, because uvicorn may begin the next request here.
        self._places.end(self)
        super().on_response_complete()
        self._follow_request()

    def drop(self) -> None:
        """Close the connection, at once if it does not read what was sent."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _follow_request(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or self.transport.is_closing():
            return
        if not cycle.response_complete:
            self._stop_waiting()
            self._places.begin(self)
        elif self._waiting is None:
            self._wait_for_head()

    def _wait_for_head(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self.drop)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def send_or_refuse(message: Message) -> None:
            nonlocal refused
            if refused:
                raise OSError("this event stream has no place")
            refused = _begins_stream(message) and not self._places.begin_stream(self)
            if refused:
                await send_response(send, 503, [(b"retry-after", b"5"), _CLOSE], b"")
            else:
                await send(message)

        await self._handle(scope, receive, send_or_refuse)


def _begins_stream(message: Message) -> bool:
    if message["type"] != "http.response.start":
        return False
    return any(value.startswith("text/event-stream") for value in header_values(message, b"content-type"))

"""Test that connections without a request keep nobody out of a local page, with real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import anyio
import httpx
import pytest
import uvicorn
from anyio.abc import SocketStream

from machines_mcp.web.asgi import Receive, Scope, Send, send_response
from machines_mcp.web.connection_places import HEAD_SECONDS, MAX_STREAMS, ConnectionPlaces
from machines_mcp.web.loopback import build_uvicorn, listen_on_loopback
from tests.support.clock import advance_loop_clock
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.anyio

MOST = 4
HALF_A_HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
WHOLE = HALF_A_HEAD + b"\r\n"
STREAM = WHOLE.replace(b"/ ", b"/stream ")


@dataclass
class Pages:
    """A server whose requests end when the test says so."""

    held: int = 0
    open_streams: int = 0
    release: anyio.Event = field(default_factory=anyio.Event)
    port: int = 0
    server: uvicorn.Server | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/stream":
            await self._stream(receive, send)
            return
        if scope["path"] == "/hold":
            self.held += 1
            await self.release.wait()
        await send_response(send, 200, [], b"here")

    async def _stream(self, receive: Receive, send: Send) -> None:
        self.open_streams += 1
        try:
            kind = (b"content-type", b"text/event-stream; charset=utf-8")
            await send({"type": "http.response.start", "status": 200, "headers": [kind]})
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self.open_streams -= 1

    @property
    def connections(self) -> int:
        assert self.server is not None
        return len(self.server.server_state.connections)

    async def connect(self, sent: bytes = b"") -> SocketStream:
        stream = await anyio.connect_tcp("127.0.0.1", self.port)
        if sent:
            await stream.send(sent)
        return stream

    async def status(self) -> int:
        """Return the status of a request on a new connection."""
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            return (await http.get(f"http://127.0.0.1:{self.port}/")).status_code


async def closed(stream: SocketStream) -> bytes:
    """Return what arrives until the server closes the connection."""
    said = b""
    with anyio.fail_after(PATIENCE):
        try:
            while True:
                said += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return said


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    pages = Pages()
    pages.server = build_uvicorn(pages, max_connections=MOST, handle_signals=False)
    with listen_on_loopback(MOST) as listener:
        pages.port = listener.getsockname()[1]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pages.server.serve, [listener])
            await eventually(lambda: pages.server is not None and pages.server.started)
            yield pages
            pages.release.set()
            pages.server.should_exit = True


@asynccontextmanager
async def connected(pages: Pages, count: int, sent: bytes = b"") -> AsyncIterator[list[SocketStream]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await pages.connect(sent)) for _ in range(count)]


@pytest.mark.parametrize(
    "sent", [b"", b"G", HALF_A_HEAD, WHOLE], ids=["nothing", "a byte", "half a head", "kept alive"]
)
async def test_200_idle_connections_do_not_refuse_the_next(pages: Pages, sent: bytes) -> None:
    async with connected(pages, 200, sent):
        for _ in range(3):
            assert await pages.status() == 200
        await eventually(lambda: pages.connections <= MOST)


async def test_the_longest_idle_connection_makes_room(pages: Pages) -> None:
    async with connected(pages, MOST, WHOLE) as streams:
        for stream in streams:
            assert b"200 OK" in await stream.receive()
        # The first has sent another request since, so the second is idle for longest.
        await streams[0].send(WHOLE)
        assert b"200 OK" in await streams[0].receive()
        assert await pages.status() == 200
        assert await closed(streams[1]) == b""
        for stream in (streams[0], *streams[2:]):
            await stream.send(WHOLE)
            assert b"200 OK" in await stream.receive()


@pytest.mark.parametrize("sent", [b"", HALF_A_HEAD], ids=["nothing", "half a head"])
async def test_a_connection_without_a_whole_head_is_closed_after_five_seconds(pages: Pages, sent: bytes) -> None:
    async with connected(pages, 2, sent) as streams:
        await eventually(lambda: pages.connections == 2)
        if sent:
            # Bytes that do not complete the head prolong nothing.
            await streams[0].send(b"X-Slow: 1\r\n")
        advance_loop_clock(HEAD_SECONDS)
        assert [await closed(stream) for stream in streams] == [b"", b""]


async def test_a_request_that_takes_longer_than_five_seconds_is_finished(pages: Pages) -> None:
    async with await pages.connect(WHOLE.replace(b"/ ", b"/hold ")) as stream:
        await eventually(lambda: pages.held == 1)
        advance_loop_clock(10 * HEAD_SECONDS)
        assert await pages.status() == 200
        pages.release.set()
        assert b"here" in await stream.receive()


async def test_requests_keep_their_places_and_the_next_is_told(pages: Pages) -> None:
    held = WHOLE.replace(b"/ ", b"/hold ")
    async with connected(pages, MOST, held) as streams:
        await eventually(lambda: pages.held == MOST)
        async with await pages.connect(held) as refused:
            assert (await closed(refused)).startswith(b"HTTP/1.1 503")
        pages.release.set()
        for stream in streams:
            assert b"200 OK" in await stream.receive()
        assert await pages.status() == 200


async def test_eight_event_streams_take_no_place_and_the_ninth_is_refused(pages: Pages) -> None:
    async with connected(pages, MAX_STREAMS, STREAM) as streams:
        for stream in streams:
            assert b"200 OK" in await stream.receive()
        await eventually(lambda: pages.open_streams == MAX_STREAMS)
        advance_loop_clock(10 * HEAD_SECONDS)
        async with await pages.connect(STREAM) as ninth:
            assert (await closed(ninth)).startswith(b"HTTP/1.1 503")
        async with connected(pages, 10 * MOST):
            assert await pages.status() == 200
        assert pages.open_streams == MAX_STREAMS
        await streams[0].aclose()
        await eventually(lambda: pages.open_streams == MAX_STREAMS - 1)
        async with await pages.connect(STREAM) as again:
            assert b"200 OK" in await again.receive()


async def test_pipelined_requests_are_all_answered(pages: Pages) -> None:
    async with await pages.connect(WHOLE * 3) as stream:
        said = b""
        with anyio.fail_after(PATIENCE):
            while said.count(b"here") < 3:
                said += await stream.receive()
        assert await pages.status() == 200


class FakeConnection:
    def __init__(self) -> None:
        self.dropped = False

    def drop(self) -> None:
        self.dropped = True


def test_places_are_free_again_in_every_order() -> None:
    places, connections = ConnectionPlaces(2), [FakeConnection() for _ in range(4)]
    assert all(map(places.enter, connections[:2]))
    for connection in connections[:2]:
        places.begin(connection)
    assert not places.enter(connections[2])
    # An event stream gives up its place, and takes one again when it ends.
    assert places.begin_stream(connections[0])
    assert places.enter(connections[2])
    places.begin(connections[2])
    places.end(connections[0])
    assert connections[0].dropped
    places.leave(connections[1])
    places.leave(connections[1])
    assert places.enter(connections[3])
    assert [connection.dropped for connection in connections] == [True, False, False, False]

"""A scripted Partner API on loopback. The test controls every byte, including responses the sandbox never sends."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.contract.judge import BASE_PATH, contract
from tests.support.clock import advance_loop_clock
from tests.support.loopback import serve_connections
from tests.support.waiting import PATIENCE

Answer = Callable[[ByteStream], Awaitable[None]]
# Seconds for a call that is to reach its deadline. The test moves the loop's clock, so that it need not be short.
DEADLINE = 20.0
PARTNER_KEY = "partner-key-canary-31415926535"


@dataclass(frozen=True)
class SeenRequest:
    """A received request. Header names are lower case; the path is relative to the base path."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass
class ScriptedUpstream:
    """Mints tokens unless scripted otherwise. All other responses are scripted; the last one repeats."""

    port: int = 0
    scheme: str = "http"
    seen: list[SeenRequest] = field(default_factory=list)
    mints: list[SeenRequest] = field(default_factory=list)
    scopes_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    connections: int = 0
    _arrival: anyio.Event = field(default_factory=anyio.Event)
    _script: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{BASE_PATH}"

    @property
    def calls(self) -> list[SeenRequest]:
        """All requests except mints."""
        return [seen for seen in self.seen if seen.path != "/sessions"]

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Script the responses to a request. The last one repeats."""
        self._script[method, path] = list(answers)

    async def received(self, count: int) -> None:
        """Wait until `count` requests were received in total."""
        with anyio.fail_after(PATIENCE):
            while len(self.seen) < count:
                await self._arrival.wait()

    def violations(self) -> list[str]:
        """List contract violations in the received requests."""
        return [
            f"{seen.method} {seen.path}: {fault}"
            for seen in self.seen
            for fault in contract().request_violations(
                seen.method, BASE_PATH + seen.path, headers=seen.headers, query=seen.query, body=seen.body
            )
        ]

    def mint(self, ttl_seconds: float | None = None) -> Answer:
        """Return a session as the request asks for it, with a unique token."""

        async def answer(stream: ByteStream) -> None:
            order = self.seen[-1]
            self.mints.append(order)
            token = f"header.payload.signature-canary-{len(self.mints)}"
            self.scopes_of[token] = tuple(order.body["scopes"])
            life = order.body.get("ttlSeconds", 900) if ttl_seconds is None else ttl_seconds
            await good(
                {
                    "sessionToken": token,
                    "sessionId": f"session-{len(self.mints)}",
                    "userId": order.body["userId"],
                    "expiresAt": (datetime.now(UTC) + timedelta(seconds=life)).isoformat(),
                    "scopes": order.body["scopes"],
                }
            )(stream)

        return answer

    async def serve(self, stream: ByteStream) -> None:
        self.connections += 1
        received = BufferedByteReceiveStream(stream)
        # Until the client disconnects, which it may at any time, even during a response.
        while True:
            self.seen.append(await _read(received))
            self._arrival.set()
            self._arrival = anyio.Event()
            await self._response_to(self.seen[-1])(stream)

    def _response_to(self, seen: SeenRequest) -> Answer:
        script = self._script.get((seen.method, seen.path))
        if script is None:
            return self.mint() if seen.path == "/sessions" else refusal(404, "not_found")
        return script.pop(0) if len(script) > 1 else script[0]


@asynccontextmanager
async def upstream(tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedUpstream]:
    """Serve an upstream. On exit, fail if a request violated the contract."""
    server = ScriptedUpstream(scheme="http" if tls is None else "https")
    async with serve_connections(server.serve, tls=tls) as server.port:
        yield server
    assert server.violations() == []


async def _read(stream: BufferedByteReceiveStream) -> SeenRequest:
    head = (await stream.receive_until(b"\r\n\r\n", 65536)).decode()
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    length = int(headers.get("content-length", "0"))
    body = json.loads(await stream.receive_exactly(length)) if length else None
    url = urlsplit(target)
    return SeenRequest(method, url.path.removeprefix(BASE_PATH), dict(parse_qsl(url.query)), headers, body)


def http(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a complete response. A header given here replaces the default; None as `Content-Length` omits it."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))} | dict(headers or {})
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())

    async def answer(stream: ByteStream) -> None:
        await stream.send(head.encode() + b"\r\n" + body)

    return answer


def good(data: object, *, headers: Mapping[str, str] | None = None, **envelope: object) -> Answer:
    """Respond 200 with `data` in the envelope."""
    document = {"ok": True, "data": data, "summary": "fine", "errors": []} | envelope
    return http(200, json.dumps(document).encode(), headers)


def refusal(
    status: int,
    code: str = "some_code",
    *,
    message: str = "upstream-text-canary",
    headers: Mapping[str, str] | None = None,
    **error: object,
) -> Answer:
    """Respond with an error envelope."""
    document = {"ok": False, "summary": message, "errors": [{"code": code, "message": message} | error]}
    return http(status, json.dumps(document).encode(), headers)


def then_close(answer: Answer) -> Answer:
    """Send the response, then close the connection."""

    async def answer_and_close(stream: ByteStream) -> None:
        await answer(stream)
        raise anyio.EndOfStream

    return answer_and_close


def drip(body: bytes, every: float) -> Answer:
    """Send the head at once, then one byte of the body every `every` seconds of the loop's clock."""

    async def answer(stream: ByteStream) -> None:
        await http(200, b"", {"Content-Length": str(len(body))})(stream)
        for byte in body:
            await stream.send(bytes([byte]))
            advance_loop_clock(every)
            await anyio.lowlevel.checkpoint()

    return answer


async def stall(stream: ByteStream) -> None:
    """Never respond."""
    await anyio.sleep_forever()


def stall_for(seconds: float) -> Answer:
    """Never respond, and move the loop's clock ahead by so many seconds when the request has arrived."""

    async def advance_and_stall(stream: ByteStream) -> None:
        advance_loop_clock(seconds)
        await anyio.sleep_forever()

    return advance_and_stall


async def not_http(stream: ByteStream) -> None:
    """Send the greeting of another protocol."""
    await stream.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    raise anyio.EndOfStream


async def hang_up(stream: ByteStream) -> None:
    """Close the connection without a response."""
    raise anyio.EndOfStream

"""A Partner API on loopback whose every byte the test decides: for what the sandbox would never send."""

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
from anyio import TypedAttributeProvider
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener

from tests.contract.judge import BASE_PATH, contract

Answer = Callable[[ByteStream], Awaitable[None]]
PARTNER_KEY = "partner-key-canary-31415926535"


@dataclass(frozen=True)
class Seen:
    """One request as it arrived; header names are in lower case, the path is below the base path."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass
class Upstream:
    """Mints tokens by itself unless told otherwise; every other answer is scripted, and the last one stays."""

    port: int = 0
    scheme: str = "http"
    seen: list[Seen] = field(default_factory=list)
    mints: list[Seen] = field(default_factory=list)
    scopes_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    connections: int = 0
    _arrival: anyio.Event = field(default_factory=anyio.Event)
    _script: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{BASE_PATH}"

    @property
    def calls(self) -> list[Seen]:
        """All but the mints."""
        return [seen for seen in self.seen if seen.path != "/sessions"]

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Answer a request with these, one after the other, then with the last for good."""
        self._script[method, path] = list(answers)

    async def received(self, count: int) -> None:
        """Wait for so many requests in all."""
        with anyio.fail_after(5):
            while len(self.seen) < count:
                await self._arrival.wait()

    def violations(self) -> list[str]:
        """What the contract has against the requests that came."""
        return [
            f"{seen.method} {seen.path}: {fault}"
            for seen in self.seen
            for fault in contract().request_violations(
                seen.method, BASE_PATH + seen.path, headers=seen.headers, query=seen.query, body=seen.body
            )
        ]

    def mint(self, ttl_seconds: float | None = None) -> Answer:
        """A session as the request asks for it, with a token that never comes twice."""

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
        # Clients hang up as they like, in the middle of an answer too.
        try:
            while True:
                self.seen.append(await _read(received))
                self._arrival.set()
                self._arrival = anyio.Event()
                await self._answer_to(self.seen[-1])(stream)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.IncompleteRead, anyio.ClosedResourceError):
            pass
        finally:
            await anyio.aclose_forcefully(stream)

    def _answer_to(self, seen: Seen) -> Answer:
        script = self._script.get((seen.method, seen.path))
        if script is None:
            return self.mint() if seen.path == "/sessions" else refusal(404, "not_found")
        return script.pop(0) if len(script) > 1 else script[0]


@asynccontextmanager
async def upstream(tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    """An upstream for as long as the block lasts, whose requests must all have kept to the contract."""
    server = Upstream(scheme="http" if tls is None else "https")
    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server.port = port_of(tcp)
    listener = tcp if tls is None else TLSListener(tcp, tls, standard_compatible=False)
    async with tcp, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        yield server
        group.cancel_scope.cancel()
    assert server.violations() == []


def port_of(listener: TypedAttributeProvider) -> int:
    """Where a listener listens."""
    return int(listener.extra(SocketAttribute.local_port))  # noqa: S610


async def _read(stream: BufferedByteReceiveStream) -> Seen:
    head = (await stream.receive_until(b"\r\n\r\n", 65536)).decode()
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    length = int(headers.get("content-length", "0"))
    body = json.loads(await stream.receive_exactly(length)) if length else None
    url = urlsplit(target)
    return Seen(method, url.path.removeprefix(BASE_PATH), dict(parse_qsl(url.query)), headers, body)


def http(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """A whole answer; a header given here replaces the usual one, None leaves `Content-Length` as the body has it."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))} | dict(headers or {})
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())

    async def answer(stream: ByteStream) -> None:
        await stream.send(head.encode() + b"\r\n" + body)

    return answer


def good(data: object, *, headers: Mapping[str, str] | None = None, **envelope: object) -> Answer:
    """200 and the envelope round `data`."""
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
    """The envelope of an error."""
    document = {"ok": False, "summary": message, "errors": [{"code": code, "message": message} | error]}
    return http(status, json.dumps(document).encode(), headers)


def cut(answer: Answer) -> Answer:
    """The same, after which the connection is closed."""

    async def answer_and_close(stream: ByteStream) -> None:
        await answer(stream)
        raise anyio.EndOfStream

    return answer_and_close


def dripped(body: bytes, every: float) -> Answer:
    """The head at once, then a byte of the body every so many seconds."""

    async def answer(stream: ByteStream) -> None:
        await http(200, b"", {"Content-Length": str(len(body))})(stream)
        for byte in body:
            await stream.send(bytes([byte]))
            await anyio.sleep(every)

    return answer


async def stalled(stream: ByteStream) -> None:
    """Nothing, for ever."""
    await anyio.sleep_forever()


async def no_http(stream: ByteStream) -> None:
    """What another protocol says first."""
    await stream.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    raise anyio.EndOfStream


async def hung_up(stream: ByteStream) -> None:
    """The connection is closed without a word."""
    raise anyio.EndOfStream

"""A chain's node on loopback that answers as a test wants."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.support.loopback import serve_connections

Answer = Callable[[dict[str, Any]], Awaitable[bytes]]
"""Returns the whole HTTP response to a JSON-RPC request."""


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """Return an HTTP response; `_` in a header's name stands for `-`."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def result(request: dict[str, Any], value: Any) -> bytes:
    return http(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value}).encode())


def error(request: dict[str, Any], value: Any) -> bytes:
    return http(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": value}).encode())


@asynccontextmanager
async def node(answer: Answer) -> AsyncIterator[str]:
    """Serve a node and yield its address, which has an access key."""

    async def serve(stream: ByteStream) -> None:
        received = BufferedByteReceiveStream(stream)
        while True:
            head = await received.receive_until(b"\r\n\r\n", 16_384)
            (size,) = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            await stream.send(await answer(json.loads(await received.receive_exactly(int(size)))))

    async with serve_connections(serve) as port:
        yield f"http://127.0.0.1:{port}/v3/canary-access-key-77f0"


def scripted(values: Mapping[str, Any], chain_id: int = 84_532) -> Answer:
    """Answer each method with its value, or with what the value returns for the parameters."""

    async def answer(request: dict[str, Any]) -> bytes:
        value = {"eth_chainId": hex(chain_id), **values}[request["method"]]
        return result(request, value(request["params"]) if callable(value) else value)

    return answer

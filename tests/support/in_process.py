"""The simulator in this process. The server under test reaches it through an ASGI transport, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.types import ASGIApp

from machines_mcp.partner import PartnerClient
from machines_mcp.redaction.secret import Secret
from machines_mcp.sandbox.app import API_PATH, CONTROL_PATH, build
from machines_mcp.sandbox.fault_responses import TRANSPORT
from machines_mcp.sandbox.state import State
from machines_mcp.server.sandbox_endpoint import Endpoint

# The discard port: a request that bypasses the transport fails.
ORIGIN = "http://127.0.0.1:9"


class InProcessTransport(httpx.AsyncBaseTransport):
    """Sends requests to an ASGI application.

    Unlike `httpx.ASGITransport` it lets the application close the connection within a response and applies the read
    timeout. A request continues after its client disconnects, as on a real server.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _Exchange(await request.aread())
        answer = asyncio.get_running_loop().create_task(self._answer(request, exchange))
        self._running.add(answer)
        answer.add_done_callback(self._running.discard)
        try:
            with anyio.fail_after(request.extensions.get("timeout", {}).get("read")):
                await asyncio.shield(answer)
        except TimeoutError:
            raise httpx.ReadTimeout("no response in time", request=request) from None
        if exchange.status is None:
            raise httpx.RemoteProtocolError("disconnected without a response", request=request)
        return httpx.Response(exchange.status, headers=exchange.headers, stream=exchange, request=request)

    async def _answer(self, request: httpx.Request, exchange: _Exchange) -> None:
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.split(b"?")[0],
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "server": (request.url.host, request.url.port),
            "client": ("127.0.0.1", 50_000),
            "root_path": "",
            "state": {TRANSPORT: exchange},
        }
        await self._app(scope, exchange.receive, exchange.send)

    async def aclose(self) -> None:
        """Do nothing, because clients that share the transport close earlier."""

    async def stop(self) -> None:
        """Cancel the requests that are still running."""
        for answer in self._running:
            answer.cancel()
        if self._running:
            await asyncio.wait(self._running)


class _Exchange(httpx.AsyncByteStream):
    """One request and its response. The application also uses it as the connection, which it may close."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._chunks: list[bytes] = []
        self._gone = asyncio.Event()
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []

    async def receive(self) -> MutableMapping[str, Any]:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self._chunks.append(message.get("body", b""))

    def close(self) -> None:
        """Close the connection at this point of the response."""
        self._gone.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._gone.is_set():
            raise httpx.RemoteProtocolError("disconnected within the response")


class InProcessSandbox:
    """A simulator that one or more servers reach through `http_transport`."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._transport = InProcessTransport(build(state, ORIGIN))
        self.http_transport: httpx.AsyncBaseTransport | None = self._transport
        self.base_url, self.control_url = ORIGIN + API_PATH, ORIGIN + CONTROL_PATH
        self.partner_key = Secret(state.partner_key)

    async def endpoint(self) -> Endpoint:
        return Endpoint(self.base_url, self.partner_key, self.control_url)

    async def close(self) -> None:
        """Do nothing. The simulator ends with its block, not with a server."""

    async def stop(self) -> None:
        """Cancel the simulator's running requests."""
        await self._transport.stop()

    def client(self, **options: Any) -> PartnerClient:
        """Return a client of the Partner API other than the server's."""
        return PartnerClient(self.base_url, self.partner_key, http_transport=self.http_transport, **options)

    def http(self) -> httpx.AsyncClient:
        """Return an HTTP client for the control interface and the pages."""
        return httpx.AsyncClient(transport=self.http_transport)

    async def control(self, path: str, /, **body: Any) -> dict[str, Any]:
        """Trigger an event that API callers cannot trigger."""
        async with self.http() as http:
            answer = await http.post(self.control_url + path, json=body)
        assert answer.is_success, answer.text
        return dict(answer.json()["data"] or {})

    async def link_wallet(self, user_id: str, address: str) -> None:
        """Link an EVM wallet to a user."""
        async with self.client() as api:
            await api.users.resolve(user_id, wallet_address=address)


@asynccontextmanager
async def in_process_sandbox(database: Path | None = None) -> AsyncIterator[InProcessSandbox]:
    """Yield a simulator. `database` persists its state for the next one."""
    state = State.open(database)
    with closing(state.db):
        made = InProcessSandbox(state)
        try:
            yield made
        finally:
            await made.stop()


@contextmanager
def used_by_all(sandbox: InProcessSandbox) -> Iterator[None]:
    """Make every `embedded` server that opens within the block use `sandbox`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("machines_mcp.server.sandbox_process.SandboxProcess", lambda folder: sandbox)
        yield

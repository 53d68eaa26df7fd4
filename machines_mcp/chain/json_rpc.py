"""Ask a chain's node over JSON-RPC.

The node is an outside party: its answers are bounded and never shown. Its address often has an access key.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from machines_mcp import __version__
from machines_mcp.chain.faults import RpcUnavailable, Unavailable
from machines_mcp.chain.rpc_url import rpc_url_fault
from machines_mcp.redaction.secret import Secret

if TYPE_CHECKING:
    import httpx

MAX_BYTES: Final = 1024 * 1024
SECONDS: Final = 5.0
"""The time limit of one request."""
_AT_ONCE: Final = 8
_HEADERS: Final = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"machines-mcp/{__version__}",
}


class RpcRefused(RpcUnavailable):
    """The node answered with an error. `error` is the node's own, so it must not be shown."""

    def __init__(self, error: Any) -> None:
        super().__init__("it refused the request")
        self.error = error


class JsonRpc:
    """A node at an https or loopback address. Redirects and the environment's proxies don't apply.

    `seconds` is the time limit of one request.

    Raises:
        ValueError: It can't be the address of a node.
    """

    def __init__(self, url: Secret, *, seconds: float = SECONDS, max_bytes: int = MAX_BYTES) -> None:
        if fault := rpc_url_fault(url.expose()):
            raise ValueError(f"the node's address {fault}")
        self._url = url
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._building = anyio.Lock()
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._id = 0

    async def aclose(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None

    async def call(self, method: str, params: list[Any]) -> Any:
        """Return the result of a request, which can be any JSON.

        Raises:
            RpcUnavailable: There is none.
            RpcRefused: The node answered with an error.
        """
        self._id += 1
        number = self._id
        body = await self._exchange({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or answer.get("id") != number:
            raise RpcUnavailable("its answer is not JSON-RPC")
        if answer.get("error") is not None:
            raise RpcRefused(answer["error"])
        if "result" not in answer:
            raise RpcUnavailable("its answer is not JSON-RPC")
        return answer["result"]

    async def _exchange(self, message: dict[str, Any]) -> bytes:
        transport = await self._ready_transport()
        import httpx

        why: Unavailable = "it did not answer in time"
        with anyio.move_on_after(self._seconds):
            try:
                return await self._send(transport, json.dumps(message).encode())
            except RpcUnavailable as fault:
                why = fault.why
            except httpx.TimeoutException:
                why = "it did not answer in time"
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
                why = "it can't be reached"
        # Raised outside, so that httpx's error is not its context: that one holds the address.
        raise RpcUnavailable(why)

    async def _send(self, transport: httpx.AsyncHTTPTransport, content: bytes) -> bytes:
        import httpx

        request = httpx.Request(
            "POST",
            self._url.expose(),
            headers=_HEADERS,
            content=content,
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), self._seconds)},
        )
        # Without an HTTP client there are no redirects, cookies or logged addresses.
        response = await transport.handle_async_request(request)
        try:
            return await self._body(response)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _body(self, response: httpx.Response) -> bytes:
        # Some nodes send the errors of JSON-RPC as 400 or 500.
        if response.status_code not in (200, 400, 500):
            raise RpcUnavailable("it answered with an HTTP error or a redirect")
        # Compression was not requested, and a few compressed kilobytes can expand to a gigabyte.
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise RpcUnavailable("its answer is not JSON-RPC")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._max_bytes:
                raise RpcUnavailable("its answer is too large")
        return bytes(body)

    async def _ready_transport(self) -> httpx.AsyncHTTPTransport:
        async with self._building:
            if self._transport is None:
                # In a thread: importing httpx and reading the system's certificates takes a third of a second.
                self._transport = await anyio.to_thread.run_sync(_new_transport, self._url)
        return self._transport


def _new_transport(url: Secret) -> httpx.AsyncHTTPTransport:
    import ssl

    import httpx
    import truststore

    secure = url.expose()[:6].lower() == "https:"
    # A context for plain HTTP is never used, so it need not read the system's certificates.
    tls = (truststore.SSLContext if secure else ssl.SSLContext)(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncHTTPTransport(verify=tls, limits=httpx.Limits(max_connections=_AT_ONCE, keepalive_expiry=4.0))

"""HTTP connections to one endpoint: a shared pool for reads, a new connection for each mutation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import anyio.to_thread

from machines_mcp import __version__
from machines_mcp.partner.concurrency import TOTAL
from machines_mcp.partner.endpoint import Endpoint
from machines_mcp.partner.errors import Unreachable

if TYPE_CHECKING:
    import ssl

    import httpx

TraceCallback: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[None]]
"""Gets httpx's trace events: the name, and what it is about."""

# Timeouts of one attempt, in seconds.
_CONNECT, _READ, _WRITE, _POOL = 3.0, 8.0, 5.0, 2.0
# A Node server closes idle connections after 5 seconds. Closing ours earlier makes failed reads rare.
_IDLE_SECONDS = 4.0


_HEADERS = {
    "Connection": "keep-alive",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"machines-mcp/{__version__}",
}


class Connections:
    """HTTP transports, created on first use. `http_transport` replaces the network.

    They are driven without an HTTP client: no redirects, cookies, authentication or environment variables apply.
    """

    def __init__(self, endpoint: Endpoint, http_transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._endpoint = endpoint
        self._injected = http_transport
        self._building = anyio.Lock()
        self._for_reads: httpx.AsyncBaseTransport | None = None
        self._for_mutations: httpx.AsyncBaseTransport | None = None

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in (self._for_reads, self._for_mutations):
            if transport is not None:
                await transport.aclose()

    async def transport(self, *, for_mutation: bool) -> httpx.AsyncBaseTransport:
        """Return the transport for reads, or for mutations if `for_mutation`.

        Each mutation gets a new connection. The server may close an idle one as the request is sent, which leaves the
        outcome unknown. An idle one may also hold surplus bytes of an earlier response, which would be read as the
        response to this request.

        Raises:
            Unreachable: The CA certificates are invalid.
        """
        if self._for_reads is None or self._for_mutations is None:
            async with self._building:
                if self._for_reads is None or self._for_mutations is None:
                    # In a thread: importing httpx and reading the system's certificates takes a third of a second.
                    await anyio.to_thread.run_sync(self._build)
        transport = self._for_mutations if for_mutation else self._for_reads
        if transport is None:
            raise Unreachable(code="ca_file")
        return transport

    def _build(self) -> None:
        try:
            tls = self._endpoint.tls()
        except (OSError, ValueError):
            return
        self._for_mutations = self._injected or self._http_transport(tls, idle=0)
        self._for_reads = self._injected or self._http_transport(tls, idle=TOTAL)

    def _http_transport(self, tls: ssl.SSLContext, *, idle: int) -> httpx.AsyncBaseTransport:
        import httpx

        proxy = self._endpoint.proxy
        proxy_tls = tls if proxy is not None and proxy.startswith("https:") else None
        return httpx.AsyncHTTPTransport(
            verify=tls,
            proxy=None if proxy is None else httpx.Proxy(proxy, ssl_context=proxy_tls),
            limits=httpx.Limits(max_connections=TOTAL, max_keepalive_connections=idle, keepalive_expiry=_IDLE_SECONDS),
        )


def new_request(
    method: str,
    url: str,
    query: Mapping[str, str],
    content: bytes | None,
    headers: dict[str, str],
    on_trace_event: TraceCallback,
) -> httpx.Request:
    """Return a request with the headers and the timeouts of every request. httpx adds Host and Content-Length."""
    import httpx

    return httpx.Request(
        method,
        url,
        params=query or None,
        headers=_HEADERS | headers,
        content=content,
        extensions={
            "timeout": {"connect": _CONNECT, "read": _READ, "write": _WRITE, "pool": _POOL},
            "trace": on_trace_event,
        },
    )

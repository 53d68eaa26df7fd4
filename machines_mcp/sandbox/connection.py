"""A connection that its requests can reach, because only it can be closed in the middle of an answer."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from machines_mcp.sandbox.fault_responses import TRANSPORT


class Connection(H11Protocol):
    """HTTP/1.1, with the transport in the state that each request's scope carries."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = self.app_state | {TRANSPORT: transport}

"""An HTTP connection that gives requests its transport, so that a fault can close it in the middle of a response."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from machines_mcp.sandbox.fault_responses import TRANSPORT


class Connection(H11Protocol):
    """An HTTP/1.1 connection with its transport in the `state` of each request's scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = self.app_state | {TRANSPORT: transport}

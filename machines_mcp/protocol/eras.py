"""Serve one client in the protocol era in which it opens the connection, like the SDK's own loop over streams.

The first request decides: with the 2026-07-28 envelope in its `_meta`, each request carries its own version and client;
otherwise the 2025-11-25 handshake does. A later request of the other era is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import mcp_types as types
from mcp.server.connection import Connection
from mcp.server.lowlevel import Server
from mcp.server.runner import ServerRunner, aclose_shielded, serve_one
from mcp.shared.dispatcher import CallOptions, Dispatcher
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request
from mcp.shared.transport_context import TransportContext
from mcp_types.version import LATEST_MODERN_VERSION, MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError

from machines_mcp.protocol.apps import DECLARED, takes_views
from machines_mcp.protocol.constant_lists import METHODS as LISTS
from machines_mcp.protocol.constant_lists import ConstantLists
from machines_mcp.protocol.exchange import AnyExchange, OneWayExchange, Params
from machines_mcp.protocol.tool_requests import METHOD as TOOLS_CALL
from machines_mcp.protocol.tool_requests import ToolRequests


class _NoConnectionChannel:
    """What a 2026-07-28 server can send outside a request: nothing."""

    async def notify(self, method: str, params: Params, opts: CallOptions | None = None) -> None:
        """Drop it: changes reach a client only through a stream that it opened."""

    async def send_raw_request(self, method: str, params: Params, opts: CallOptions | None = None) -> dict[str, Any]:
        """Refuse."""
        raise NoBackChannelError(method)


class Envelopes:
    """Makes the connection of each 2026-07-28 request. Clients send the same names and capabilities with every one."""

    def __init__(self) -> None:
        self._channel = _NoConnectionChannel()
        self._last: dict[type[BaseModel], tuple[Any, BaseModel | None]] = {}

    def connection(self, version: str, client_info: Any, capabilities: Any) -> Connection:
        """Return a connection with the values of an envelope. As in the SDK, one of a wrong shape counts as absent."""
        info = self._read(types.Implementation, client_info)
        return Connection.from_envelope(
            version, info, self._read(types.ClientCapabilities, capabilities), outbound=self._channel
        )

    def _read(self, model: type[BaseModel], raw: Any) -> BaseModel | None:
        """Return a part of the envelope, read again only if it changed."""
        known, read = self._last.get(model, (None, None))
        if raw is None or raw == known:
            return None if raw is None else read
        with suppress(ValidationError):
            read = model.model_validate(raw, by_name=False)
            self._last[model] = raw, read
            return read
        return None


class ClientConnection:
    """One client's requests, in the era of its first one.

    `state` is the server's lifespan state. `greeted` is called when the handshake, or another infrequent request, has
    its result, which is written next.
    """

    def __init__(self, server: Server[Any], connection: Connection, state: Any, greeted: Callable[[], None]) -> None:
        self._server = server
        self._connection = connection
        self._tools = ToolRequests(server, state)
        self._lists = ConstantLists()
        self._handshake = ServerRunner(server, connection, state, init_options=server.create_initialization_options())
        self._state = state
        self._greeted = greeted
        self._modern: bool | None = None
        self._envelopes = Envelopes()

    async def request(self, exchange: AnyExchange, method: str, params: Params) -> dict[str, Any]:
        """Handle a request.

        Raises:
            MCPError: It is refused.
        """
        enveloped = method != "initialize" and _has_envelope(params)
        if self._modern is None:
            self._modern = enveloped
        if self._modern:
            return await self._with_envelope(exchange, method, params)
        if enveloped:
            raise MCPError(code=types.INVALID_REQUEST, message="the connection uses the handshake era")
        return await self._handle(
            exchange, self._connection, method, params, lambda: self._handshake.on_request(exchange, method, params)
        )

    async def notification(self, exchange: AnyExchange, method: str, params: Params) -> None:
        """Handle a notification."""
        if not self._modern:
            await self._handshake.on_notify(exchange, method, params)
            return
        connection = self._envelopes.connection(LATEST_MODERN_VERSION, None, None)
        try:
            runner = ServerRunner(self._server, connection, self._state)
            await runner.on_notify(OneWayExchange(exchange), method, params)
        finally:
            await aclose_shielded(connection)

    async def _with_envelope(
        self, exchange: AnyExchange, method: str, params: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        if method == "initialize":
            raise _handshake_refused(params)
        route = classify_inbound_request({"method": method, "params": params})
        if isinstance(route, InboundLadderRejection):
            raise MCPError(code=route.code, message=route.message, data=route.data)
        connection = self._envelopes.connection(route.protocol_version, route.client_info, route.client_capabilities)
        one_way, server = OneWayExchange(exchange), self._server
        return await self._handle(
            one_way,
            connection,
            method,
            params,
            lambda: serve_one(server, one_way, method, params, connection=connection, lifespan_state=self._state),
        )

    async def _handle(
        self,
        exchange: AnyExchange,
        connection: Connection,
        method: str,
        params: Params,
        by_the_sdk: Callable[[], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        """Handle a request: the frequent ones with a result that is written once, the others as the SDK does."""
        if method == TOOLS_CALL and self._tools.writes_for(connection):
            return await self._tools.handle(exchange, connection, params)
        if method in LISTS:
            return await self._lists.get(connection, method, params, by_the_sdk)
        result = await by_the_sdk()
        if method == "initialize" and takes_views(connection.client_capabilities):
            # The SDK's model of the result knows no extensions before 2026-07-28; clients that have this one do.
            result["capabilities"]["extensions"] = DECLARED
        self._greeted()
        return result


def _has_envelope(params: Params) -> bool:
    meta = params.get("_meta") if params else None
    return isinstance(meta, Mapping) and types.PROTOCOL_VERSION_META_KEY in meta


def _handshake_refused(params: Params) -> MCPError:
    data: dict[str, Any] = {"supported": list(MODERN_PROTOCOL_VERSIONS)}
    requested = (params or {}).get("protocolVersion")
    if isinstance(requested, str):
        data["requested"] = requested
    return MCPError(
        code=types.UNSUPPORTED_PROTOCOL_VERSION, message="the connection uses the 2026-07-28 era", data=data
    )


def _nothing() -> None:
    pass


async def serve_client(
    server: Server[Any], dispatcher: Dispatcher[TransportContext], *, greeted: Callable[[], None] = _nothing
) -> None:
    """Serve the client of these pipes until its input ends. `greeted`: see `ClientConnection`."""
    async with server.lifespan(server) as state:
        connection = Connection.for_loop(dispatcher)
        client = ClientConnection(server, connection, state, greeted)
        try:
            await dispatcher.run(client.request, client.notification)
        finally:
            await aclose_shielded(connection)

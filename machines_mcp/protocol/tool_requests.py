"""Handle `tools/call` with the SDK's checks of the request and its middleware, but write the result once.

The SDK validates a handler's result again and dumps it twice, which takes longer than most tools.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.session import ServerSession
from mcp.shared.message import ServerMessageMetadata
from mcp_types import methods
from mcp_types.version import LATEST_MODERN_VERSION
from pydantic import BaseModel

from machines_mcp.protocol.exchange import AnyExchange, Params
from machines_mcp.protocol.written import VERSIONS, server_meta, write_result

METHOD = "tools/call"


class ToolRequests:
    """Handles the tool calls of one server. `state` is its lifespan state."""

    def __init__(self, server: Server[Any], state: Any) -> None:
        self._server = server
        self._state = state
        self._server_info = server.server_info_stamp
        self._meta = server_meta(self._server_info)
        call: CallNext = self._call
        for middleware in reversed(server.middleware):
            call = partial(_through, middleware, call)
        self._checked_call = call

    def writes_for(self, connection: Connection) -> bool:
        """Whether this writes the results of the connection: its version is a current one, and it is ready."""
        return connection.initialize_accepted and connection.protocol_version in VERSIONS

    async def handle(self, exchange: AnyExchange, connection: Connection, params: Params) -> dict[str, Any]:
        """Handle a call.

        Raises:
            MCPError: It is refused.
            ValidationError: The params are invalid.
        """
        meta = types.RequestParams.model_validate(params, by_name=False).meta if params and "_meta" in params else None
        context = ServerRequestContext(
            session=ServerSession(exchange, connection, request_meta=meta),
            lifespan_context=self._state,
            protocol_version=connection.protocol_version,
            method=METHOD,
            params=params,
            request_id=exchange.request_id,
            meta=meta,
            request=_request_of(exchange),
        )
        result = await self._checked_call(context)
        version = connection.protocol_version
        if isinstance(result, dict) and result.get("resultType") == "complete":
            return write_result(result, version, self._meta)
        return self._by_the_sdk(version, result)

    async def _call(self, context: ServerRequestContext[Any, Any]) -> HandlerResult:
        version, params = context.protocol_version, context.params
        methods.validate_client_request(METHOD, version, params)
        entry = self._server.get_request_handler(METHOD)
        if entry is None:
            raise LookupError(METHOD)
        return await entry.handler(context, entry.params_type.model_validate(params or {}, by_name=False))

    def _by_the_sdk(self, version: str, result: HandlerResult) -> dict[str, Any]:
        """Return another result, such as one that asks for input, as the SDK shapes it."""
        given = (
            result.model_dump(by_alias=True, mode="json", exclude_none=True)
            if isinstance(result, BaseModel)
            else result
        )
        shaped = methods.serialize_server_result(METHOD, version, given or {})
        if version == LATEST_MODERN_VERSION:
            shaped["_meta"] = {types.SERVER_INFO_META_KEY: self._server_info} | shaped.get("_meta", {})
        return shaped


def _request_of(exchange: AnyExchange) -> Any:
    given = exchange.message_metadata
    return given.request_context if isinstance(given, ServerMessageMetadata) else None


def _through(
    middleware: ServerMiddleware[Any], call_next: CallNext, context: ServerRequestContext[Any, Any]
) -> Awaitable[HandlerResult]:
    return middleware(context, call_next)

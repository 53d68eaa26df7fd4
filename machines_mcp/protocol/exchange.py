"""One message of the client while it is handled, as the SDK's dispatch context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import anyio
from mcp.shared.dispatcher import CallOptions, DispatchContext
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from mcp.shared.message import MessageMetadata, ServerMessageMetadata
from mcp.shared.transport_context import TransportContext

from machines_mcp.protocol.allowance import Allowance

Params: TypeAlias = Mapping[str, Any] | None
"""The params of a message, as they came."""
AnyExchange: TypeAlias = DispatchContext[TransportContext]

_DUPLEX = TransportContext(kind="jsonrpc", can_send_request=True)
_ONE_WAY = TransportContext(kind="jsonrpc", can_send_request=False)


class Channel(Protocol):
    """Sends to the client. `ask` raises `MCPError` if the client answers with an error, leaves, or takes too long."""

    async def notify(self, method: str, params: Params, opts: CallOptions | None = None) -> None: ...

    async def ask(
        self, method: str, params: Params, opts: CallOptions | None, allowance: Allowance
    ) -> dict[str, Any]: ...


class Exchange:
    """A request or notification, and the channel for what is sent to the client while it is handled.

    `request_id` is None for a notification. `awaited`: its response comes in bounded time.
    """

    __slots__ = ("_awaited", "_cancel_requested", "_channel", "_closed", "_token", "allowance", "request_id", "scope")

    transport = _DUPLEX

    def __init__(self, channel: Channel, request_id: int | str | None, params: Params, *, awaited: bool = True) -> None:
        self.request_id = request_id
        self._awaited = awaited
        self.scope = anyio.CancelScope()
        """The handler runs in it."""
        self.allowance = Allowance()
        """What the response may show. The SDK passes it on as the request's `request`."""
        self._channel = channel
        self._token = progress_token_from_params(params) if params and "_meta" in params else None
        self._cancel_requested: anyio.Event | None = None
        self._closed = False

    @property
    def message_metadata(self) -> ServerMessageMetadata:
        """What the SDK's context of the request gets from its transport."""
        return ServerMessageMetadata(request_context=self.allowance)

    @property
    def can_send_request(self) -> bool:
        """Whether the client can be asked something: not after the response."""
        return not self._closed

    @property
    def awaited(self) -> bool:
        """Whether the client still waits for the response."""
        return self._awaited and not self.cancelled

    @property
    def cancelled(self) -> bool:
        """Whether the client has cancelled the request, so that it gets no response."""
        return self._cancel_requested is not None and self._cancel_requested.is_set()

    @property
    def cancel_requested(self) -> anyio.Event:
        """Set when the client cancels the request."""
        if self._cancel_requested is None:
            self._cancel_requested = anyio.Event()
        return self._cancel_requested

    def cancel(self) -> None:
        """Cancel the handler, as the client asked."""
        self.cancel_requested.set()
        self.scope.cancel()

    def close(self) -> None:
        """Send nothing more for this request."""
        self._closed = True

    async def notify(self, method: str, params: Params, opts: CallOptions | None = None) -> None:
        """Send a notification, unless the response was sent."""
        if not self._closed:
            await self._channel.notify(method, params, opts)

    async def send_raw_request(self, method: str, params: Params, opts: CallOptions | None = None) -> dict[str, Any]:
        """Send a request and wait for its result.

        Raises:
            NoBackChannelError: The response was sent.
            MCPError: The client answered with an error, left, or took too long.
        """
        if self._closed:
            raise NoBackChannelError(method)
        return await self._channel.ask(method, params, opts, self.allowance)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress if the client gave a token for it."""
        if self._token is None:
            return
        told = {"progressToken": self._token, "progress": progress, "total": total, "message": message}
        await self.notify("notifications/progress", {name: value for name, value in told.items() if value is not None})


class OneWayExchange:
    """An exchange whose protocol allows no request to the client (2026-07-28)."""

    __slots__ = ("_exchange",)

    transport = _ONE_WAY
    can_send_request = False

    def __init__(self, exchange: AnyExchange) -> None:
        self._exchange = exchange

    @property
    def request_id(self) -> int | str | None:
        """The id of the request; None for a notification."""
        return self._exchange.request_id

    @property
    def message_metadata(self) -> MessageMetadata:
        """What the SDK's context of the request gets from its transport."""
        return self._exchange.message_metadata

    @property
    def cancel_requested(self) -> anyio.Event:
        """Set when the client cancels the request."""
        return self._exchange.cancel_requested

    async def notify(self, method: str, params: Params, opts: CallOptions | None = None) -> None:
        """Send a notification, unless the response was sent."""
        await self._exchange.notify(method, params, opts)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress if the client gave a token for it."""
        await self._exchange.progress(progress, total, message)

    async def send_raw_request(self, method: str, params: Params, opts: CallOptions | None = None) -> dict[str, Any]:
        """Refuse: raises `NoBackChannelError`."""
        raise NoBackChannelError(method)

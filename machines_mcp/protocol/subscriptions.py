"""Notify clients when a subscribed resource changes.

The API does not push changes, so subscribed resources are read again after each call that may change something or
waited for a change. Only a digest of each is kept. Without subscriptions, nothing is read.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.shared.exceptions import MCPError

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]
Read = Callable[[Context, types.ReadResourceRequestParams], Awaitable[types.ReadResourceResult]]

MOST = 50
MAX_STREAMS = 16


@dataclass
class Subscription:
    """A subscribed address: the digest of its last content, and its subscribers."""

    ctx: Context
    seen: str
    streams: int = 0
    session: ServerSession | None = None
    """The client's connection, if it subscribed by the 2025-11-25 protocol."""


class Subscriptions:
    """The subscriptions of one server. `read` handles `resources/read`."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._watched: dict[str, Subscription] = {}
        self._bus = InMemorySubscriptionBus()
        self._listener = ListenHandler(self._bus, max_subscriptions=MAX_STREAMS, max_buffered_events=2 * MOST)
        self._touched = anyio.Event()

    async def subscribe(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Notify the client of this connection when the resource changes (2025-11-25).

        Raises:
            MCPError: There is no resource at the address, or too many are subscribed.
        """
        (await self._watch(ctx, params.uri)).session = ctx.session
        return types.EmptyResult()

    async def unsubscribe(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """Stop the notifications. An unknown address is no error."""
        found = self._watched.get(params.uri)
        if found is not None:
            found.session = None
            self._drop(params.uri)
        return types.EmptyResult()

    async def listen(
        self, ctx: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Stream notifications (2026-07-28). Skip unknown addresses, and lists, which never change."""
        wanted = list(dict.fromkeys(params.notifications.resource_subscriptions or ()))
        async with self._held(ctx, wanted) as known:
            honoured = types.SubscriptionFilter(resource_subscriptions=known or None)
            return await self._listener(ctx, params.model_copy(update={"notifications": honoured}))

    def touch(self) -> None:
        """Check for changes now."""
        self._touched.set()

    @asynccontextmanager
    async def running(self, server: object) -> AsyncIterator[dict[str, Any]]:
        """Check for changes while a server runs; for the SDK's `lifespan`."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look_on)
            yield {}
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def _held(self, ctx: Context, wanted: Sequence[str]) -> AsyncIterator[list[str]]:
        known: list[str] = []
        try:
            for uri in wanted:
                try:
                    (await self._watch(ctx, uri)).streams += 1
                except MCPError:
                    continue
                known.append(uri)
            yield known
        finally:
            for uri in known:
                self._watched[uri].streams -= 1
                self._drop(uri)

    async def _watch(self, ctx: Context, uri: str) -> Subscription:
        if uri not in self._watched:
            # Read before responding, so that a change right after is noticed. This read belongs to no request.
            ctx = replace(ctx, request_id=None)
            seen = await self._reads(ctx, uri)
            # Other subscriptions may have been added during the read.
            if uri not in self._watched and len(self._watched) >= MOST:
                raise MCPError(code=types.INVALID_PARAMS, message="too many subscriptions")
            self._watched.setdefault(uri, Subscription(ctx, seen))
        return self._watched[uri]

    def _drop(self, uri: str) -> None:
        found = self._watched[uri]
        if found.streams == 0 and found.session is None:
            del self._watched[uri]

    async def _look_on(self) -> None:
        while True:
            await self._touched.wait()
            self._touched = anyio.Event()
            for uri in list(self._watched):
                await self._look(uri)

    async def _look(self, uri: str) -> None:
        found = self._watched.get(uri)
        if found is None:
            return
        try:
            seen = await self._reads(found.ctx, uri)
            if seen != found.seen:
                found.seen = seen
                await self._tell(uri, found)
        except MCPError:
            # Unavailable now. Compare the next successful read with the last digest.
            return
        except Exception as error:
            logger.error("a subscribed resource could not be read: %s", type(error).__name__)

    async def _tell(self, uri: str, found: Subscription) -> None:
        await self._bus.publish(ResourceUpdated(uri))
        if found.session is not None:
            await found.session.send_resource_updated(uri)

    async def _reads(self, ctx: Context, uri: str) -> str:
        result = await self._read(ctx, types.ReadResourceRequestParams(uri=uri))
        return hashlib.sha256(result.model_dump_json().encode()).hexdigest()

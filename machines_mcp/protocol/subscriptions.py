"""Telling a client that what stands at an address reads differently now.

Machines tells nobody of a change, so watched addresses are read again: after each call that may have changed something,
and every minute. Nothing is read while nobody watches, and of what was read only a digest is kept.
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

LOOK_SECONDS = 60.0
MOST = 50
MOST_STREAMS = 16


@dataclass
class Subscription:
    """An address, what it read like last, and who wants to know."""

    ctx: Context
    seen: str
    streams: int = 0
    session: ServerSession | None = None
    """The client's connection, where it subscribed in the way of 2025-11-25."""


class Subscriptions:
    """What the clients of one server watch. `read` is what `resources/read` is answered with."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._watched: dict[str, Subscription] = {}
        self._bus = InMemorySubscriptionBus()
        self._listener = ListenHandler(self._bus, max_subscriptions=MOST_STREAMS, max_buffered_events=2 * MOST)
        self._touched = anyio.Event()
        self._wanted = anyio.Event()

    async def subscribe(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Tell the client of this connection when the address reads differently (2025-11-25).

        Raises:
            MCPError: There is nothing at the address, or too much is watched already.
        """
        (await self._watch(ctx, params.uri)).session = ctx.session
        return types.EmptyResult()

    async def unsubscribe(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """No longer; what was never asked for is no error."""
        found = self._watched.get(params.uri)
        if found is not None:
            found.session = None
            self._drop(params.uri)
        return types.EmptyResult()

    async def listen(
        self, ctx: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """One stream of notices (2026-07-28). Addresses that lead nowhere, and lists, which never change, stay out."""
        wanted = list(dict.fromkeys(params.notifications.resource_subscriptions or ()))
        async with self._held(ctx, wanted) as known:
            honoured = types.SubscriptionFilter(resource_subscriptions=known or None)
            return await self._listener(ctx, params.model_copy(update={"notifications": honoured}))

    def touch(self) -> None:
        """Something may have changed: look now."""
        self._touched.set()

    @asynccontextmanager
    async def running(self, server: object) -> AsyncIterator[dict[str, Any]]:
        """Keeps looking while a server runs; made for the SDK's `lifespan`."""
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
            # Before the answer: a change right after it must be noticed. What is read answers no request.
            ctx = replace(ctx, request_id=None)
            seen = await self._reads(ctx, uri)
            # Others may have begun to watch this and more meanwhile.
            if uri not in self._watched and len(self._watched) >= MOST:
                raise MCPError(code=types.INVALID_PARAMS, message="too much is watched")
            self._watched.setdefault(uri, Subscription(ctx, seen))
            self._wanted.set()
        return self._watched[uri]

    def _drop(self, uri: str) -> None:
        found = self._watched[uri]
        if found.streams == 0 and found.session is None:
            del self._watched[uri]

    async def _look_on(self) -> None:
        while True:
            if not self._watched:
                self._wanted = anyio.Event()
                await self._wanted.wait()
            with anyio.move_on_after(LOOK_SECONDS):
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
            # Not to be had now; what it reads like when it is again, is compared with what it was.
            return
        except Exception as error:
            logger.error("a watched address could not be looked at: %s", type(error).__name__)

    async def _tell(self, uri: str, found: Subscription) -> None:
        await self._bus.publish(ResourceUpdated(uri))
        if found.session is not None:
            await found.session.send_resource_updated(uri)

    async def _reads(self, ctx: Context, uri: str) -> str:
        result = await self._read(ctx, types.ReadResourceRequestParams(uri=uri))
        return hashlib.sha256(result.model_dump_json().encode()).hexdigest()

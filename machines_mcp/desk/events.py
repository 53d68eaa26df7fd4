"""Tell open pages which approvals wait, as server-sent events, while their session lasts."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import anyio
from starlette.responses import Response, StreamingResponse

from machines_mcp.desk.routing import PageRenderer, Route, SessionRequest
from machines_mcp.storage.database import StoreUnavailable

if TYPE_CHECKING:
    import asyncio

TICK_SECONDS = 0.5
KEEPALIVE_TICKS = 30
MAX_RECENT = 20


class Events:
    """The event stream of each open page. It ends with its session, or when `closing` is set."""

    def __init__(self, renderer: PageRenderer, closing: asyncio.Event) -> None:
        self._renderer = renderer
        self._closing = closing

    def routes(self) -> list[Route]:
        """Return the route of the stream. An open page is not a person who uses the session."""
        return [Route(re.compile("/events"), get=self.stream, passive=True)]

    async def stream(self, request: SessionRequest) -> Response:
        """Open a stream."""
        return StreamingResponse(self._events(request), media_type="text/event-stream")

    async def _events(self, request: SessionRequest) -> AsyncIterator[str]:
        last, quiet = "", 0
        while not self._closing.is_set():
            if self._renderer.sessions.find(request.http_request.cookies, use=False) is not request.session:
                yield "event: locked\ndata: \n\n"
                return
            try:
                now = await self._state()
            except StoreUnavailable:
                return
            quiet = 0 if now != last else quiet + 1
            if now != last:
                last = now
                yield f"event: waiting\ndata: {now}\n\n"
            elif quiet % KEEPALIVE_TICKS == 0:
                # The connection of a browser that has left fails here.
                yield ":\n\n"
            with anyio.move_on_after(TICK_SECONDS):
                await self._closing.wait()

    async def _state(self) -> str:
        """Return the waiting approvals and the states of recent ones as JSON. It names no user, amount or address."""
        guard = self._renderer.dependencies.guard
        waiting = [approval.id for approval in await guard.channels.waiting()]
        states = {approval.id: approval.state for approval in await guard.approvals.recent(MAX_RECENT)}
        return json.dumps({"waiting": waiting, "states": states})

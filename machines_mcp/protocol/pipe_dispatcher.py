"""The SDK's `Dispatcher` on two pipes: a line is parsed once, its request gets one task, and responses are written as
lines of one buffer. The SDK's own moves each message through three memory streams and four tasks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Mapping
from typing import Any

import anyio
import anyio.abc
import mcp_types as types
from mcp.shared.dispatcher import (
    CallOptions,
    OnNotify,
    OnNotifyIntercept,
    OnRequest,
    as_request_id,
    coerce_request_id,
    run_notify_intercept,
)
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params

from machines_mcp.protocol.allowance import NOTHING, Allowance
from machines_mcp.protocol.exchange import Exchange, Params
from machines_mcp.protocol.messages import error_data, error_line, message_line, params_part, result_lines, result_of
from machines_mcp.protocol.stdio import LineReader, LineWriter

logger = logging.getLogger(__name__)

# Its response comes when the stream ends, maybe never, so the end of the input does not wait for it.
_ENDLESS = ("subscriptions/listen",)
MAX_RUNNING = 4096
"""How many requests run at once. More of them wait."""
LOOK_SECONDS = 0.1
"""How often a request that waits for its response is looked at again: it may have been cancelled."""

_CLOSED = types.ErrorData(code=types.CONNECTION_CLOSED, message="Connection closed")


class PipeDispatcher:
    """Dispatches the reader's messages and writes their responses. It runs once."""

    def __init__(self, reader: LineReader, writer: LineWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._in_flight: dict[int | str, Exchange] = {}
        self._tasks: dict[asyncio.Task[None], Exchange] = {}
        # Our requests to the client.
        self._asked: dict[int | str, asyncio.Future[dict[str, Any]]] = {}
        self._last_id = 0
        self._closed = False

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        on_notify_intercept: OnNotifyIntercept | None = None,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Dispatch messages until the input ends. Then cancel what still runs, and wait for it."""
        task_status.started()
        try:
            await self._reader.run(lambda message: self._received(message, on_request, on_notify, on_notify_intercept))
            await self._reader.drain(self._answered_all())
        finally:
            self._closed = True
            for future in self._asked.values():
                future.cancel()
            await self._end_tasks()

    async def _answered_all(self) -> None:
        """Wait until no request waits for its response: not one that was cancelled, nor an endless one."""
        while waiting := [task for task, exchange in self._tasks.items() if exchange.awaited]:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=LOOK_SECONDS)

    async def _end_tasks(self) -> None:
        for exchange in self._tasks.values():
            exchange.scope.cancel()
        with anyio.CancelScope(shield=True):
            while self._tasks:
                await asyncio.wait(self._tasks)

    def _received(
        self, message: dict[str, Any], on_request: OnRequest, on_notify: OnNotify, intercept: OnNotifyIntercept | None
    ) -> Awaitable[object] | None:
        """Dispatch a message. Return what must end before the next one is dispatched."""
        method, params = message.get("method"), message.get("params")
        if method is None:
            self._answered(message)
        elif "id" not in message:
            self._notified(method, params, on_notify, intercept)
        else:
            exchange = Exchange(self, message["id"], params, awaited=method not in _ENDLESS)
            self._in_flight[message["id"]] = exchange
            task = self._start(exchange, self._handle(exchange, message["id"], method, params, on_request))
            if method == "initialize":
                # A client may send its next request before it has the response to this one.
                return asyncio.wait([task])
            if len(self._tasks) >= MAX_RUNNING:
                return asyncio.wait(list(self._tasks), return_when=asyncio.FIRST_COMPLETED)
        return None

    def _start(self, exchange: Exchange, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = exchange
        task.add_done_callback(self._tasks.__delitem__)
        return task

    async def _handle(
        self,
        exchange: Exchange,
        request_id: int | str,
        method: str,
        params: Params,
        on_request: OnRequest,
    ) -> None:
        """Run the handler and write the response. A request that the client cancelled gets none."""
        line, read_once = "", None
        try:
            with exchange.scope:
                line, read_once = result_lines(request_id, await on_request(exchange, method, params))
        except Exception as error:
            line = error_line(request_id, error_data(error))
        finally:
            exchange.close()
            # A client may use an id again meanwhile.
            if self._in_flight.get(request_id) is exchange:
                del self._in_flight[request_id]
            if not exchange.cancelled:
                # Without a line, the server is ending.
                line = line or error_line(request_id, _CLOSED)
                self._writer.write(line, exchange.allowance, read_once=read_once, now=len(self._tasks) == 1)

    def _notified(self, method: str, params: Params, on_notify: OnNotify, intercept: OnNotifyIntercept | None) -> None:
        if method == "notifications/cancelled":
            found = self._named(cancelled_request_id_from_params(params))
            if found is not None:
                found.cancel()
        if not run_notify_intercept(intercept, method, params):
            exchange = Exchange(self, None, params, awaited=False)
            self._start(exchange, self._contained(on_notify, exchange, method, params))

    def _named(self, request_id: int | str | None) -> Exchange | None:
        """Return the request that a client means, which may write the id 7 as "7" here."""
        if request_id is None:
            return None
        other = str(request_id) if isinstance(request_id, int) else coerce_request_id(request_id)
        same = other if str(other) == str(request_id) else request_id
        return self._in_flight.get(request_id) or self._in_flight.get(same)

    async def _contained(
        self, on_notify: OnNotify, exchange: Exchange, method: str, params: Mapping[str, Any] | None
    ) -> None:
        try:
            await on_notify(exchange, method, params)
        except Exception as error:
            logger.error("a notification's handler failed: %s", type(error).__name__)

    def _answered(self, message: Mapping[str, Any]) -> None:
        """Give a response of the client to the request of ours that waits for it."""
        given = as_request_id(message.get("id"))
        future = None if given is None else self._asked.get(coerce_request_id(given))
        if future is not None and not future.done():
            future.set_result(dict(message))

    async def notify(self, method: str, params: Params, opts: CallOptions | None = None) -> None:
        """Send a notification. After the end of the input, it is dropped."""
        if not self._closed:
            self._writer.write(message_line({"jsonrpc": "2.0", "method": method} | params_part(params)))

    async def send_raw_request(self, method: str, params: Params, opts: CallOptions | None = None) -> dict[str, Any]:
        """Send a request that belongs to no request of the client: see `ask`."""
        return await self.ask(method, params, opts, NOTHING)

    async def ask(self, method: str, params: Params, opts: CallOptions | None, allowance: Allowance) -> dict[str, Any]:
        """Send a request to the client and wait for its result, for as long as `opts` says.

        Raises:
            MCPError: The client answered with an error, left, or took too long.
        """
        if self._closed:
            raise MCPError.from_error_data(_CLOSED)
        self._last_id += 1
        request_id = self._last_id
        future = self._asked[request_id] = asyncio.get_running_loop().create_future()
        message = {"jsonrpc": "2.0", "id": request_id, "method": method}
        try:
            self._writer.write(message_line(message | params_part(params)), allowance)
            with anyio.fail_after((opts or {}).get("timeout")):
                return result_of(await self._response(future))
        except TimeoutError:
            await self._abandon(request_id, "timed out")
            raise MCPError(code=types.REQUEST_TIMEOUT, message=f"Request {method!r} timed out") from None
        except asyncio.CancelledError:
            await self._abandon(request_id, "caller cancelled")
            raise
        finally:
            del self._asked[request_id]

    async def _response(self, future: asyncio.Future[dict[str, Any]]) -> dict[str, Any]:
        """Wait for a response. The end of the input cancels the future, which must not look like a cancelled task."""
        await asyncio.wait([future])
        if future.cancelled():
            raise MCPError.from_error_data(_CLOSED)
        return future.result()

    async def _abandon(self, request_id: int, reason: str) -> None:
        """Tell the client that nobody waits for its response."""
        await self.notify("notifications/cancelled", {"requestId": request_id, "reason": reason})

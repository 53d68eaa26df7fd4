"""Send requests to the Partner API with limits on time, size and concurrency. Redirects are not followed.

Only this module and `connections` import httpx, and only at the first request.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from machines_mcp.partner.concurrency import RequestLimiter
from machines_mcp.partner.connections import Connections
from machines_mcp.partner.endpoint import Endpoint
from machines_mcp.partner.envelope import Envelope, Reply, open_envelope
from machines_mcp.partner.errors import (
    ConnectionLost,
    Malformed,
    PartnerError,
    ResponseError,
    TimedOut,
    TooLarge,
    Unreachable,
)
from machines_mcp.partner.request import Attempt, Credential, Request
from machines_mcp.partner.retries import Retries, is_repeatable
from machines_mcp.partner.trace import Trace

if TYPE_CHECKING:
    import httpx

    # Lets the rest of the package name the type without importing httpx.
    HttpTransport = httpx.AsyncBaseTransport

MAX_BYTES = 2 * 1024 * 1024

_MAX_RETRY_AFTER = 86_400.0


class Transport:
    """Sends requests to one endpoint. Connections open at first use. `max_bytes` limits a response body."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        max_bytes: int = MAX_BYTES,
        http_transport: HttpTransport | None = None,
        trace: Trace | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint = endpoint
        self._max_bytes = max_bytes
        # An injected transport may report no trace events, so its requests always count as sent.
        self._unseen = http_transport is not None
        self._connections = Connections(endpoint, http_transport)
        self._trace = trace
        self._clock = clock
        self._lanes = RequestLimiter()
        self._retries = Retries()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    async def send(
        self, request: Request, credential: Credential, *, deadline: float, user_id: str | None = None
    ) -> Envelope:
        """Send a request and return its successful response, by `deadline` on the clock of `anyio.current_time`.

        Waits for a slot in the total and in the limit of `user_id`. Makes up to four attempts if `Retries` allows
        them, otherwise one.

        Raises:
            PartnerError: Any failure except `ScopeRefused`.
        """
        wire = Attempt(request)
        self._retries.count()
        with anyio.CancelScope(deadline=deadline):
            if is_repeatable(request):
                return await self._retrying(wire, credential, user_id, deadline)
            async with self._lanes.slot(user_id):
                return await self._attempt(wire, credential)
        # If only a retry ran out of time, the error before it tells the caller more than a timeout.
        raise wire.earlier if wire.earlier and wire.outcome_known else TimedOut(outcome_known=wire.outcome_known)

    async def _retrying(self, wire: Attempt, credential: Credential, user_id: str | None, deadline: float) -> Envelope:
        for tries in itertools.count(1):
            failure: PartnerError
            try:
                # No slot is held during a pause.
                async with self._lanes.slot(user_id):
                    return await self._attempt(wire, credential)
            except PartnerError as error:
                failure = error
            pause = self._retries.pause(wire.request, failure, tries, deadline - anyio.current_time())
            if pause is None:
                # A later attempt that was refused does not show whether an earlier one took effect.
                raise wire.in_doubt or failure
            wire.failed(failure)
            await anyio.sleep(pause)
        raise AssertionError("unreachable")

    async def _attempt(self, wire: Attempt, credential: Credential) -> Envelope:
        if self._trace is None:
            return await self._exchange(wire, credential)
        wire.status = wire.reply = None
        started = anyio.current_time()
        try:
            return await self._exchange(wire, credential)
        finally:
            await self._trace.note(wire, anyio.current_time() - started)

    async def _exchange(self, wire: Attempt, credential: Credential) -> Envelope:
        http = await self._connections.client(changing=wire.request.effect)
        import httpx

        wire.sent = self._unseen
        failure: PartnerError
        try:
            async with http.stream(
                wire.request.method,
                self._endpoint.url + wire.request.target,
                params=wire.request.query,
                content=wire.content,
                headers=wire.headers(credential),
                extensions={"trace": wire.trace},
            ) as response:
                wire.status = response.status_code
                reply = wire.reply = await self._read(response, wire)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError):
            failure = Unreachable()
        except httpx.HTTPError as error:
            kind = TimedOut if isinstance(error, httpx.TimeoutException) else ConnectionLost
            failure = kind(outcome_known=wire.outcome_known) if wire.sent else Unreachable()
        else:
            return open_envelope(reply, effect=wire.request.effect)
        # Raised outside, so that httpx's error is not its context: that one holds the request with its headers.
        raise failure

    async def _read(self, response: httpx.Response, wire: Attempt) -> Reply:
        status, retry_after = response.status_code, self._retry_after(response.headers.get("retry-after"))
        body = bytearray()
        unusable: type[ResponseError] | None = None
        # Compression was not requested, and a few compressed kilobytes can expand to a gigabyte.
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            unusable = Malformed
        else:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._max_bytes:
                    unusable = TooLarge
                    break
        if unusable is None:
            return Reply(status, bytes(body), retry_after)
        if 200 <= status < 300:
            raise unusable(status=status, outcome_known=wire.outcome_known)
        return Reply(status, b"", retry_after)

    def _retry_after(self, value: str | None) -> float | None:
        if value is None:
            return None
        if re.fullmatch(r"[0-9]{1,9}", value):
            seconds = float(value)
        else:
            from email.utils import parsedate_to_datetime

            try:
                seconds = parsedate_to_datetime(value).timestamp() - self._clock()
            except (ValueError, OverflowError):
                return None
        return min(max(seconds, 0.0), _MAX_RETRY_AFTER)

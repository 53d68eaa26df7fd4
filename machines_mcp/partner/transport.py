"""Send requests to the Partner API with limits on time, size and concurrency. Redirects are not followed.

Only this module and `connections` import httpx, and only at the first request.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio

from machines_mcp.partner.concurrency import RequestLimiter
from machines_mcp.partner.connections import Connections, new_request
from machines_mcp.partner.endpoint import Endpoint
from machines_mcp.partner.envelope import Envelope, HttpResponse, parse_envelope
from machines_mcp.partner.errors import (
    ConnectionLost,
    Malformed,
    PartnerError,
    ResponseError,
    TimedOut,
    TooLarge,
    Unreachable,
)
from machines_mcp.partner.request import Credential, Request
from machines_mcp.partner.retries import RetryBudget
from machines_mcp.partner.trace import Trace

if TYPE_CHECKING:
    import httpx

    # Lets the rest of the package name the type without importing httpx.
    HttpTransport = httpx.AsyncBaseTransport

MAX_BYTES = 2 * 1024 * 1024

_MAX_RETRY_AFTER = 86_400.0


class Attempt:
    """A request in transit: its body and target, whether any of it was sent, and the response to the last attempt."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.sent = False
        self.status: int | None = None
        self.response: HttpResponse | None = None
        self.earlier: PartnerError | None = None
        """The error of the previous attempt, or of the first one that may have taken effect."""
        self.content = request.content
        self.target = request.target

    @property
    def outcome_known(self) -> bool:
        """False once a mutation may have reached the API."""
        return not (self.request.mutates and (self.sent or self.unknown_outcome is not None))

    @property
    def unknown_outcome(self) -> PartnerError | None:
        """The error of an earlier attempt that may have taken effect, whatever happens to later ones."""
        return None if self.earlier is None or self.earlier.outcome_known else self.earlier

    def record_failure(self, error: PartnerError) -> None:
        """Record a failed attempt before the next one, of which nothing is sent yet."""
        self.sent = False
        self.earlier = self.unknown_outcome or error

    def headers(self, credential: Credential) -> dict[str, str]:
        """Return the headers specific to this request, including the credential."""
        headers = {credential.header: credential.prefix + credential.secret.expose()}
        if self.content is not None:
            headers["Content-Type"] = "application/json"
        if self.request.idempotency_key is not None:
            headers["Idempotency-Key"] = self.request.idempotency_key
        return headers

    async def on_trace_event(self, event: str, info: Mapping[str, Any]) -> None:
        """Handle httpx's trace events: set `sent` before the first byte, call `on_sent` after the last."""
        # Ignore a proxy's CONNECT, which is sent before our own request.
        if event == "http11.send_request_headers.started" and info["request"].method != b"CONNECT":
            self.sent = True
        elif event == "http11.send_request_body.complete" and self.sent and self.request.on_sent is not None:
            self.request.on_sent()


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
        self._always_sent = http_transport is not None
        self._connections = Connections(endpoint, http_transport)
        self._trace = trace
        self._clock = clock
        self._limiter = RequestLimiter()
        self._retry_budget = RetryBudget()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    async def send(
        self, request: Request, credential: Credential, *, deadline: float, user_id: str | None = None
    ) -> Envelope:
        """Send a request and return its successful response, by `deadline` on the clock of `anyio.current_time`.

        Waits for a slot in the total and in the limit of `user_id`. Makes up to four attempts if `RetryBudget` allows
        them, otherwise one. No slot is held during a pause.

        Raises:
            PartnerError: Any failure except `ScopeRefused`.
        """
        attempt = Attempt(request)
        self._retry_budget.record_request()
        with anyio.CancelScope(deadline=deadline):
            for attempts in itertools.count(1):
                failure: PartnerError
                try:
                    async with self._limiter.slot(user_id):
                        return await self._traced_exchange(attempt, credential)
                except PartnerError as error:
                    failure = error
                pause = self._retry_budget.delay(request, failure, attempts, deadline - anyio.current_time())
                if pause is None:
                    # A later attempt that was refused does not show whether an earlier one took effect.
                    raise attempt.unknown_outcome or failure
                attempt.record_failure(failure)
                await anyio.sleep(pause)
        # If only a retry ran out of time, the error before it tells the caller more than a timeout.
        raise (
            attempt.earlier
            if attempt.earlier and attempt.outcome_known
            else TimedOut(outcome_known=attempt.outcome_known)
        )

    async def _traced_exchange(self, attempt: Attempt, credential: Credential) -> Envelope:
        if self._trace is None:
            return await self._exchange(attempt, credential)
        attempt.status = attempt.response = None
        started = anyio.current_time()
        try:
            return await self._exchange(attempt, credential)
        finally:
            await self._trace.record(attempt, anyio.current_time() - started)

    async def _exchange(self, attempt: Attempt, credential: Credential) -> Envelope:
        transport = await self._connections.transport(for_mutation=attempt.request.mutates)
        import httpx

        attempt.sent = self._always_sent
        failure: PartnerError
        try:
            response = await transport.handle_async_request(
                new_request(
                    attempt.request.method,
                    self._endpoint.url + attempt.target,
                    attempt.request.query,
                    attempt.content,
                    attempt.headers(credential),
                    attempt.on_trace_event,
                )
            )
            try:
                attempt.status = response.status_code
                received = attempt.response = await self._read(response, attempt)
            finally:
                await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError):
            failure = Unreachable()
        except httpx.HTTPError as error:
            kind = TimedOut if isinstance(error, httpx.TimeoutException) else ConnectionLost
            failure = kind(outcome_known=attempt.outcome_known) if attempt.sent else Unreachable()
        else:
            return parse_envelope(received, mutates=attempt.request.mutates)
        # Raised outside, so that httpx's error is not its context: that one holds the request with its headers.
        raise failure

    async def _read(self, response: httpx.Response, attempt: Attempt) -> HttpResponse:
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
            return HttpResponse(status, bytes(body), retry_after)
        if 200 <= status < 300:
            raise unusable(status=status, outcome_known=attempt.outcome_known)
        return HttpResponse(status, b"", retry_after)

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

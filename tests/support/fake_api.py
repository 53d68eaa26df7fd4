"""A client of an API that gives scripted responses, without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, Protocol

import anyio
import httpx

from machines_mcp.partner import PartnerClient, PartnerError
from machines_mcp.partner.models.base import ReceivedResponse
from machines_mcp.partner.request import Request
from machines_mcp.redaction.secret import Secret
from tests.support.fitted_responses import fitted
from tests.support.waiting import PATIENCE

BASE_URL = "http://127.0.0.1:9/partner/v1"
SESSION = {"sessionToken": "a.b.c", "sessionId": "session-1", "scopes": [], "expiresAt": 4_000_000_000}


class ClientCall(Protocol):
    """A method of the client with its arguments."""

    @property
    def operation(self) -> str: ...
    @property
    def call(self) -> Callable[[PartnerClient], Awaitable[Any]]: ...


class FakeApi:
    """A client of an API that gives scripted responses. Mints succeed unless the mint itself is under test."""

    def __init__(self, endpoint: ClientCall) -> None:
        self._endpoint = endpoint
        self._minting = endpoint.operation == "createSession"
        self._answer: dict[str, Any] = {}
        self._received: list[ReceivedResponse] = []
        self.mismatches: list[tuple[str, str]] = []

    @cached_property
    def request(self) -> Request:
        """The request that the method sends."""
        with suppress(PartnerError):
            self.call(200, b'{"ok": true, "data": {}}')
        return self._received[-1].request

    def fitted(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the envelope with data that fits the request."""
        return body | {"data": fitted(self.request, body["data"])}

    def new_client(self) -> PartnerClient:
        """Return a client of this API that has no session yet."""
        # No network, so nothing to close.
        return PartnerClient(
            BASE_URL,
            Secret("partner-key"),
            deadline=PATIENCE,
            card_secrets=True,
            http_transport=httpx.MockTransport(self._reply),
            on_answer=self._received.append,
            on_mismatch=lambda *what: self.mismatches.append(what),
        )

    def _reply(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/sessions") and not self._minting:
            session = SESSION | {"userId": json.loads(request.content)["userId"]}
            return httpx.Response(200, json={"ok": True, "data": session})
        return httpx.Response(**self._answer)

    def call(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> Any:
        """Return what the method returns when the API responds like this."""
        self.script(status, content, headers)
        # A new client, because another would return its session, and remembers what earlier responses said.
        return asyncio.run(self.call_with(self.new_client()))

    def script(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        """Respond like this from now on."""
        self._answer = {"status_code": status, "content": content, "headers": headers}

    async def call_with(self, client: PartnerClient) -> Any:
        """Call the method of this client."""
        with anyio.fail_after(PATIENCE):
            return await self._endpoint.call(client)

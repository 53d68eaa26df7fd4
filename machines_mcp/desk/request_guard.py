"""Reject foreign requests before they reach the desk, and add security headers to every response.

Another site in the same browser can send requests here, but can't choose their Host, Origin or Sec-Fetch-Site. A DNS
name rebound to this address arrives with its own Host. The passphrase stops requests from programs on this machine.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio

MAX_BODY_BYTES = 32 * 1024
BODY_SECONDS = 5.0
FORM = "application/x-www-form-urlencoded"

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"cache-control", b"no-store"),
    # With `no-referrer`, browsers would send `Origin: null` with our own forms.
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Bare = Callable[[int, str], tuple[bytes, list[tuple[bytes, bytes]]]]

logger = logging.getLogger(__name__)


class RequestGuard:
    """Passes on requests from this desk's own pages. `bare` renders a one-sentence page."""

    def __init__(self, inside: Application, port: int, bare: Bare) -> None:
        self._inside = inside
        self._host = f"127.0.0.1:{port}"
        self._bare = bare

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await self._say(*refused, guarded)
            return
        try:
            body = await _body(receive) if scope["method"] == "POST" else b""
            if body is None:
                await self._say(413, "The request is too large.", guarded)
                return
            await self._inside(scope, _replay(body), guarded)
        except Exception as error:
            # Log only the class: an exception's text can contain the data it failed on.
            logger.error("a desk page failed: %s", type(error).__name__)
            await self._say(500, "Something went wrong. Check whether it took effect before you repeat it.", guarded)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        if _headers(scope, b"host") != [self._host]:
            return 421, "This desk has a different address."
        if scope["method"] not in ("GET", "POST"):
            return 405, "Method not allowed."
        if scope["method"] == "POST":
            return None if self._own_form(scope) else (403, "Only the desk's own pages can submit its forms.")
        return None if self._own_visit(scope) else (403, "Open this page directly. Other pages can't embed or load it.")

    def _own_form(self, scope: Scope) -> bool:
        kind = [value.partition(";")[0].strip().lower() for value in _headers(scope, b"content-type")]
        return (
            _headers(scope, b"origin") == [f"http://{self._host}"]
            and _headers(scope, b"sec-fetch-site") in ([], ["same-origin"])
            and kind == [FORM]
        )

    def _own_visit(self, scope: Scope) -> bool:
        if _headers(scope, b"origin") not in ([], [f"http://{self._host}"]):
            return False
        if _headers(scope, b"sec-fetch-site") in ([], ["none"], ["same-origin"]):
            return True
        # A link on another site, such as a chat, may lead here. That site's frames, images and scripts may not load it.
        opened = (_headers(scope, b"sec-fetch-mode"), _headers(scope, b"sec-fetch-dest"))
        return opened == (["navigate"], ["document"])

    async def _say(self, status: int, sentence: str, send: Send) -> None:
        body, headers = self._bare(status, sentence)
        length = (b"content-length", str(len(body)).encode())
        close = [(b"connection", b"close")] if status == 413 else []
        await send({"type": "http.response.start", "status": status, "headers": [*headers, length, *close]})
        await send({"type": "http.response.body", "body": body})


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body, or None if it is too long, too slow or incomplete."""
    body = b""
    with anyio.move_on_after(BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            chunk: bytes = message.get("body", b"")
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return None
            if not message.get("more_body", False):
                return body
    return None


def _replay(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive

"""Reject foreign requests before they reach the desk, and add security headers to every response.

The passphrase stops requests from programs on this machine, which can send any header.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from machines_mcp.desk.assets import SOURCES
from machines_mcp.web.asgi import Application, Header, Message, Receive, Scope, Send, header_values, send_response
from machines_mcp.web.browser_security import SameOrigin, is_navigation, security_headers
from machines_mcp.web.form import FORM_TYPE, read_body, replay

MAX_BODY_BYTES = 32 * 1024

HEADERS = security_headers(
    sources=SOURCES, referrer="same-origin", permissions="camera=(), geolocation=(), microphone=()"
)

MessageRenderer = Callable[[int, str], tuple[bytes, list[Header]]]

logger = logging.getLogger(__name__)


class RequestGuard:
    """Passes on requests from this desk's own pages. `render_message` renders a one-sentence page."""

    def __init__(self, app: Application, port: int, render_message: MessageRenderer) -> None:
        self._app = app
        self._same_origin = SameOrigin(port)
        self._render_message = render_message

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        rejection = self._rejection(scope)
        if rejection is not None:
            await self._send_message(*rejection, send_with_headers)
            return
        try:
            if scope["method"] == "GET":
                await self._app(scope, receive, send_with_headers)
                return
            body = await read_body(receive, MAX_BODY_BYTES)
            if body is None:
                await self._send_message(413, "The request is too large.", send_with_headers)
                return
            await self._app(scope, replay(body), send_with_headers)
        except Exception as error:
            # Log only the class: an exception's text can contain the data it failed on.
            logger.error("a desk page failed: %s", type(error).__name__)
            await self._send_message(
                500, "Something went wrong. Check whether it took effect before you repeat it.", send_with_headers
            )

    def _rejection(self, scope: Scope) -> tuple[int, str] | None:
        if not self._same_origin.has_own_host(scope):
            return 421, "This desk has a different address."
        if scope["method"] not in ("GET", "POST"):
            return 405, "Method not allowed."
        if scope["method"] == "POST":
            return None if self._is_own_form(scope) else (403, "Only the desk's own pages can submit its forms.")
        return (
            None
            if self._is_own_navigation(scope)
            else (403, "Open this page directly. Other pages can't embed or load it.")
        )

    def _is_own_form(self, scope: Scope) -> bool:
        types = [value.partition(";")[0].strip().lower() for value in header_values(scope, b"content-type")]
        return self._same_origin.is_own_submission(scope) and types == [FORM_TYPE]

    def _is_own_navigation(self, scope: Scope) -> bool:
        return self._same_origin.has_no_other_origin(scope) and is_navigation(scope)

    async def _send_message(self, status: int, sentence: str, send: Send) -> None:
        body, headers = self._render_message(status, sentence)
        close = [(b"connection", b"close")] if status == 413 else []
        await send_response(send, status, [*headers, *close], body)

"""Read a submitted form: the request body within bounds, and its fields."""

from __future__ import annotations

from typing import Literal
from urllib.parse import parse_qs

import anyio

from machines_mcp.web.asgi import Message, Receive

FORM_TYPE = "application/x-www-form-urlencoded"
BODY_SECONDS = 5.0


async def read_body(receive: Receive, max_bytes: int) -> bytes | None:
    """Return the whole body, or None if it is longer than `max_bytes`, too slow or incomplete."""
    body = b""
    with anyio.move_on_after(BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            chunk: bytes = message.get("body", b"")
            body += chunk
            if len(body) > max_bytes:
                return None
            if not message.get("more_body", False):
                return body
    return None


def replay(body: bytes) -> Receive:
    """Return an ASGI `receive` that yields a body which was already read."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def parse_form(
    body: bytes, max_fields: int, *, errors: Literal["strict", "replace"] = "strict"
) -> dict[str, list[str]] | None:
    """Return the values of each field, or None if the form is malformed or has more than `max_fields` values.

    `errors` decides about percent-escapes that are not UTF-8.
    """
    try:
        text = body.decode("ascii")
        return parse_qs(text, keep_blank_values=True, strict_parsing=True, errors=errors, max_num_fields=max_fields)
    except ValueError:
        return None

"""Reads a request's body, never more of it than any request needs."""

from __future__ import annotations

from typing import Final

from starlette.requests import ClientDisconnect, Request

from machines_mcp.sandbox.envelope import invalid

MAX_BODY: Final = 256 * 1024


async def read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        Refusal: 400, when it is larger than 256 KiB or its sender went away.
    """
    raw = bytearray()
    try:
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > MAX_BODY:
                raise invalid(None, "body is too large")
    except ClientDisconnect:
        raise invalid(None, "body ended early") from None
    return bytes(raw)

"""Read a request's body, up to a size limit."""

from __future__ import annotations

from typing import Final

from starlette.requests import ClientDisconnect, Request

from machines_mcp.sandbox.envelope import invalid

MAX_BODY: Final = 256 * 1024


async def read_body(request: Request) -> bytes:
    """Return the whole body.

    Raises:
        Refusal: 400, if it is larger than 256 KiB or the client disconnects.
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

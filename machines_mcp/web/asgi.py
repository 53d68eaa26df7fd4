"""ASGI types, and the few lines of ASGI that the desk and the vault's page share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Return the values of a request header, in order. `name` is lower case."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def send_response(send: Send, status: int, headers: Iterable[Header], body: bytes) -> None:
    """Send a complete response, with its length."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})

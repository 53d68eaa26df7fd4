"""Write the shapes of requests and responses to a file, without values, to diagnose the API."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.to_thread

from machines_mcp.partner.field_names import FIELD_NAMES

if TYPE_CHECKING:
    from machines_mcp.partner.envelope import HttpResponse
    from machines_mcp.partner.request import Request

# Replaces the name of a field that the API's documentation does not have. It could itself be a value.
UNNAMED = "?"

_MAX_NODES = 5000
_WRITE_SECONDS = 1.0


class Traced(Protocol):
    """A request and the response to it, if any came."""

    @property
    def request(self) -> Request: ...
    @property
    def content(self) -> bytes | None: ...
    @property
    def status(self) -> int | None: ...
    @property
    def response(self) -> HttpResponse | None: ...


class Trace:
    """Appends one JSON line per HTTP call to a file, which is created with mode 0600.

    A line has `method`, `path` (ids replaced by their names), `status` (None: no response came), `ms`, and the shapes
    of `query`, `request` and `response`. A shape has known field names and JSON types, but no values and no headers; a
    list has the shape of its first member. A full or slow disk loses lines but fails no call.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    async def record(self, attempt: Traced, seconds: float) -> None:
        """Append the line of one call, within a second, even if the call was cancelled."""
        with anyio.move_on_after(_WRITE_SECONDS, shield=True):
            await anyio.to_thread.run_sync(self._append, attempt, seconds, abandon_on_cancel=True)

    def _append(self, attempt: Traced, seconds: float) -> None:
        line = json.dumps(_line(attempt, seconds), separators=(",", ":")).encode() + b"\n"
        try:
            descriptor = open_trace(self._path)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except (OSError, ValueError):
            # A failing trace must not fail the call.
            return


def open_trace(path: str) -> int:
    """Open the file at `path` for appending, creating it if needed, and return its descriptor.

    Raises:
        OSError: It can't be written to or is not a regular file.
    """
    # Opening a named pipe would block until it has a reader.
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        if os.name == "posix":
            # Exactly this mode, under any umask.
            os.fchmod(descriptor, 0o600)
    except FileExistsError:
        descriptor = os.open(path, flags)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError("not a regular file")


def shape(value: object) -> Any:
    """Return the field names and types of parsed JSON, at most 5,000 of them, without values."""
    return _shape(value, iter(range(_MAX_NODES)))


def _shape(value: object, left: Iterator[int]) -> Any:
    if isinstance(value, dict):
        members: dict[str, Any] = {}
        for name, member in value.items():
            if next(left, None) is None:
                break
            members.setdefault(name if name in FIELD_NAMES else UNNAMED, _shape(member, left))
        return members
    if isinstance(value, list):
        return [_shape(value[0], left)] if value else []
    return _type(value)


def _type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "string" if isinstance(value, str) else "number"


def _line(attempt: Traced, seconds: float) -> dict[str, Any]:
    from machines_mcp.partner.envelope import parse_body

    request = attempt.request
    sent = None if attempt.content is None else shape(json.loads(attempt.content))
    answer = None if attempt.response is None else parse_body(attempt.response.body)
    return {
        "method": request.method,
        "path": request.path,
        "status": attempt.status,
        "ms": round(seconds * 1000),
        "query": shape(dict(request.query)),
        "request": sent,
        "response": None if answer is None else shape(answer),
    }

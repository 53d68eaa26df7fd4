"""The shapes of requests and answers in a file: what was said can be told without seeing what it was about."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from machines_mcp.partner.request import Attempt

# What stands for a field whose name could itself be a value: of others' making, in words or digits.
UNNAMED = "?"

# Digits only as `line1` has them: a map can have tokens or numbers for names.
_PLAIN = re.compile(r"(?=.{1,40}\Z)[A-Za-z_]+[0-9]{0,2}")
_MAX_NODES = 5000
_WRITE_SECONDS = 1.0


class Trace:
    """One JSON line per HTTP call, appended to a file that is made with mode 0600.

    A line has `method`, `path` (ids replaced by their names), `status` (None: no answer came), `ms`, and the shapes of
    `query`, `request` and `response`. A shape has the names of fields and their JSON types, a list by its first member;
    a value or a header is never in it. A disk that is full or slow loses lines and fails no call.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    async def note(self, wire: Attempt, seconds: float) -> None:
        """Append the line of one call, within a second, also where the call itself was cancelled."""
        with anyio.move_on_after(_WRITE_SECONDS, shield=True):
            await anyio.to_thread.run_sync(self._append, wire, seconds, abandon_on_cancel=True)

    def _append(self, wire: Attempt, seconds: float) -> None:
        line = json.dumps(_entry(wire, seconds), separators=(",", ":")).encode() + b"\n"
        try:
            descriptor = open_trace(self._path)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except (OSError, ValueError):
            # A diagnosis must not end what it diagnoses.
            return


def open_trace(path: str) -> int:
    """A descriptor that appends to the file at `path`, which is made if there is none.

    Raises:
        OSError: It can't be written to, or is no regular file.
    """
    # A named pipe would keep the open waiting for a reader.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, 0o600)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError("not a regular file")


def plain_name(name: str) -> str:
    """A field's name, or `?` where it is more than 1 to 40 letters and underscores and up to two digits at the end."""
    return name if _PLAIN.fullmatch(name) else UNNAMED


def shape(value: object) -> Any:
    """The names and types of parsed JSON, with nothing of its values; at most 5,000 of them."""
    return _shape(value, iter(range(_MAX_NODES)))


def _shape(value: object, left: Iterator[int]) -> Any:
    if isinstance(value, dict):
        members: dict[str, Any] = {}
        for name, member in value.items():
            if next(left, None) is None:
                break
            members.setdefault(plain_name(name), _shape(member, left))
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
    return "number" if isinstance(value, float) else "string"


def _entry(wire: Attempt, seconds: float) -> dict[str, Any]:
    from machines_mcp.partner.envelope import parse_body

    request = wire.request
    sent = None if wire.content is None else shape(json.loads(wire.content))
    answer = None if wire.reply is None else parse_body(wire.reply.body)
    return {
        "method": request.method,
        "path": request.path,
        "status": wire.status,
        "ms": round(seconds * 1000),
        "query": shape(dict(request.query)),
        "request": sent,
        "response": None if answer is None else shape(answer),
    }

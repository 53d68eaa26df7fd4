"""The vault's side of the pipes: one request in, one reply out, the end."""

from __future__ import annotations

import os
from typing import NoReturn

import anyio

from machines_mcp.vault import confinement
from machines_mcp.vault.errand import reveal
from machines_mcp.vault.request import (
    MAX_REQUEST_BYTES,
    VaultError,
    VaultReply,
    failed,
    parse_request,
    reply_line,
)


def serve() -> NoReturn:
    """Answer the request on standard input and end the process, with 0 when the reply was written."""
    confinement.forbid_dumps()
    output = confinement.take_output()
    os.write(output, reply_line(_answer()))
    # No finalisers: nothing that still holds a secret runs again.
    os._exit(0)


def _answer() -> VaultReply:
    try:
        request = parse_request(_read_line())
        confinement.end_within(request.deadline_seconds)
        confinement.end_with_parent()
        return anyio.run(reveal, request)
    except BaseException:
        return failed("internal")


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        # Nothing comes at the end of the pipe, nor where the line is as long as it may be.
        chunk = os.read(0, MAX_REQUEST_BYTES - len(line))
        if not chunk:
            raise VaultError
        line += chunk
    return line

"""The vault process: read one request, write one reply, and exit."""

from __future__ import annotations

import os
from typing import NoReturn

import anyio

from machines_mcp.vault import hardening
from machines_mcp.vault.parent_pipe import ParentPipe
from machines_mcp.vault.reply import failed
from machines_mcp.vault.request import MAX_REQUEST_BYTES, VaultError, VaultRequest, parse_request
from machines_mcp.vault.sinks import reveal


def serve() -> NoReturn:
    """Handle the request on standard input and exit, with status 0 once the reply is written."""
    hardening.forbid_dumps()
    hardening.die_with_parent()
    pipe = ParentPipe(hardening.claim_output())
    try:
        _handle_request(pipe)
    except BaseException:
        pipe.reply(failed("internal"))
    # Skip finalizers: no code that still holds a secret may run again.
    os._exit(0)


def _handle_request(pipe: ParentPipe) -> None:
    request = parse_request(_read_line())
    hardening.end_within(request.deadline_seconds)
    if request.sink == "page":
        pipe.listen()
        _serve_page(request, pipe)
    else:
        hardening.end_with_parent()
        pipe.reply(anyio.run(reveal, request))


def _serve_page(request: VaultRequest, pipe: ParentPipe) -> None:
    from machines_mcp.vault.page_server import serve_card_page

    anyio.run(serve_card_page, request, pipe)


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        # The chunk is empty at end of file, and once the line has its maximum length.
        chunk = os.read(0, MAX_REQUEST_BYTES - len(line))
        if not chunk:
            raise VaultError
        line += chunk
    return line

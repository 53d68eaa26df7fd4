"""The vault's side of the pipes: one request in, one reply out, the end."""

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
    """Answer the request on standard input and end the process, with 0 when the reply was written."""
    hardening.forbid_dumps()
    hardening.die_with_parent()
    dialogue = ParentPipe(hardening.take_output())
    try:
        _answer(dialogue)
    except BaseException:
        dialogue.reply(failed("internal"))
    # No finalisers: nothing that still holds a secret runs again.
    os._exit(0)


def _answer(dialogue: ParentPipe) -> None:
    request = parse_request(_read_line())
    hardening.end_within(request.deadline_seconds)
    if request.sink == "page":
        dialogue.listen()
        _open_page(request, dialogue)
    else:
        hardening.end_with_parent()
        dialogue.reply(anyio.run(reveal, request))


def _open_page(request: VaultRequest, dialogue: ParentPipe) -> None:
    from machines_mcp.vault.page_server import show

    anyio.run(show, request, dialogue)


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        # Nothing comes at the end of the pipe, nor where the line is as long as it may be.
        chunk = os.read(0, MAX_REQUEST_BYTES - len(line))
        if not chunk:
            raise VaultError
        line += chunk
    return line

"""The server's side of a reveal: start the vault, send the request, and accept only a valid reply."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence

import anyio
from anyio.abc import Process

from machines_mcp.vault.reply import MAX_REPLY_BYTES, VaultReply, failed, parse_reply
from machines_mcp.vault.request import VaultError, VaultRequest, request_line

# Isolated mode: the environment and the working directory can't change which code runs.
COMMAND = (sys.executable, "-I", "-m", "machines_mcp.vault")

START_SECONDS = 10.0


async def reveal(request: VaultRequest, *, command: Sequence[str] = COMMAND) -> VaultReply:
    """Fetch and check one card in a separate process, for any sink except `page`. Raises only on cancellation.

    The child has ended when this returns. A `failed` reply has the code `deadline` after `deadline_seconds`, `internal`
    if the child couldn't be started, or `vault.protocol` if it sent anything but one valid reply about this card.
    """
    with anyio.move_on_after(request.deadline_seconds):
        try:
            async with vault_process(command) as process:
                return await _exchange(process, request)
        except OSError:
            return failed("internal")
        except VaultError:
            return failed("vault.protocol")
    return failed("deadline")


async def can_start(*, command: Sequence[str] = COMMAND) -> bool:
    """Return whether a vault starts on this machine. Without a request it replies `internal` and exits."""
    try:
        with anyio.fail_after(START_SECONDS):
            done = await anyio.run_process(
                command,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                check=False,
                start_new_session=True,
            )
        return done.returncode == 0 and parse_reply(done.stdout) == failed("internal")
    except (OSError, TimeoutError, VaultError):
        return False


@contextlib.asynccontextmanager
async def vault_process(command: Sequence[str]) -> AsyncIterator[Process]:
    """Yield a child that inherits only its pipes, killed and reaped at the end.

    Raises OSError if it can't be started.
    """
    process = await anyio.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None,
        env=_environment(),
        start_new_session=True,
    )
    # Leaving the block reaps the child, cancelled or not.
    async with process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


async def _exchange(process: Process, request: VaultRequest) -> VaultReply:
    if process.stdin is None or process.stdout is None:
        raise VaultError
    try:
        # Keep the pipe open: its end of file tells the child that this process is gone.
        await process.stdin.send(request_line(request))
    except (OSError, anyio.BrokenResourceError):
        raise VaultError from None
    line = bytearray()
    try:
        async for chunk in process.stdout:
            line += chunk
            if len(line) > MAX_REPLY_BYTES:
                raise VaultError
        if await process.wait() != 0:
            raise VaultError
        reply = parse_reply(line, request.sink)
    finally:
        line[:] = bytes(len(line))
    if reply.last4 not in (None, request.last4):
        raise VaultError
    return reply


def _environment() -> dict[str, str]:
    # Windows can't open a socket without it.
    return {name: os.environ[name] for name in ("SYSTEMROOT",) if os.name == "nt" and name in os.environ}

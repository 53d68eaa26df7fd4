"""The server's side of a reveal: start the vault, hand it the request, believe nothing but the closed reply."""

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

# Isolated: neither the environment nor the working directory has a say in which code runs.
COMMAND = (sys.executable, "-I", "-m", "machines_mcp.vault")

START_SECONDS = 10.0


async def reveal(request: VaultRequest, *, command: Sequence[str] = COMMAND) -> VaultReply:
    """Have one card fetched and checked in a process of its own, for any sink but `page`.

    Never raises but for cancellation. The child is gone when this returns, however it ends. `failed` with `deadline`
    after `deadline_seconds`, with `vault.protocol` when the child said anything but one closed reply about the card
    that was asked for, with `internal` when it couldn't be started.
    """
    with anyio.move_on_after(request.deadline_seconds):
        try:
            async with started(command) as process:
                return await _exchange(process, request)
        except OSError:
            return failed("internal")
        except VaultError:
            return failed("vault.protocol")
    return failed("deadline")


async def starts(*, command: Sequence[str] = COMMAND) -> bool:
    """Whether a vault can be started on this machine: one that is handed no request says so and ends."""
    try:
        with anyio.fail_after(START_SECONDS):
            done = await anyio.run_process(
                command, input=b"\n", stderr=subprocess.DEVNULL, env=_environment(), check=False, start_new_session=True
            )
        return done.returncode == 0 and parse_reply(done.stdout) == failed("internal")
    except (OSError, TimeoutError, VaultError):
        return False


@contextlib.asynccontextmanager
async def started(command: Sequence[str]) -> AsyncIterator[Process]:
    """A child with pipes and nothing else of ours, killed and reaped at the end.

    Raises OSError where it can't be started.
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
        # Left open: its end of file is how the child learns that this process is gone.
        await process.stdin.send(request_line(request))
    except (OSError, anyio.BrokenResourceError):
        raise VaultError from None
    line = b""
    async for chunk in process.stdout:
        line += chunk
        if len(line) > MAX_REPLY_BYTES:
            raise VaultError
    if await process.wait() != 0:
        raise VaultError
    reply = parse_reply(line, request.sink)
    if reply.last4 not in (None, request.last4):
        raise VaultError
    return reply


def _environment() -> dict[str, str]:
    # Windows opens no socket without it.
    return {name: os.environ[name] for name in ("SYSTEMROOT",) if os.name == "nt" and name in os.environ}

"""The embedded Partner API: one simulator process per state folder, shared by the servers that use the folder.

It runs while any server holds a lease: its stdin, or a connection to its lease port. So it stops when the last holder
ends, even by `kill -9`. A lock file ensures that two servers started at the same time share one simulator.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread
from anyio.abc import SocketStream

from machines_mcp.server.sandbox_endpoint import Endpoint, as_endpoint
from machines_mcp.storage.files import open_or_make, write_atomically
from machines_mcp.storage.private_folder import check_database, check_private, private_folder

if TYPE_CHECKING:
    from machines_mcp.partner.transport import HttpTransport

START_SECONDS = 15.0
NOTES = "sandbox.json"
_MAX_LINE_BYTES = 10_000
_LEASE_SECONDS = 2.0
_END_SECONDS = 0.5
_POLL_SECONDS = 0.01


class SandboxFailed(Exception):
    """The simulator did not start."""


Release = Callable[[], Awaitable[None]]
Start = Callable[[Path, bool], Awaitable[tuple[dict[str, Any], Release]]]
"""Starts a simulator over a database, with chains or without. Returns what it announced, and how to release it."""


class SandboxProcess:
    """Starts or joins the simulator at the first `endpoint()`, and releases it in `close()`.

    `start` replaces the process in tests of agents. With `chain`, a simulator that it starts has chains; one that runs
    already is joined as it is.
    """

    http_transport: HttpTransport | None = None

    def __init__(self, folder: Path, start: Start | None = None, *, chain: bool = False) -> None:
        self._folder = folder
        self._chain = chain
        self._start_it: Start = start or start_process
        self._held = AsyncExitStack()
        self._lock = anyio.Lock()
        self._endpoint: Endpoint | None = None

    async def endpoint(self) -> Endpoint:
        """Return the folder's running simulator, starting one if needed.

        Raises:
            SandboxFailed: It did not start within 15 seconds.
        """
        async with self._lock:
            if self._endpoint is None:
                try:
                    with anyio.fail_after(START_SECONDS):
                        self._endpoint = await self._find_or_start()
                except (TimeoutError, OSError, ValueError, KeyError):
                    raise SandboxFailed from None
            return self._endpoint

    async def close(self) -> None:
        """Release the lease. The simulator stops by itself after its last lease."""
        self._endpoint = None
        await self._held.aclose()

    async def _find_or_start(self) -> Endpoint:
        private_folder(self._folder)
        notes = self._folder / NOTES
        check_private(notes)
        check_database(self._folder / "sandbox.db")
        async with _locked(self._folder / "sandbox.lock"):
            found = await self._join(notes)
            return found or await self._start(notes)

    async def _join(self, notes: Path) -> Endpoint | None:
        found = await _leased(notes)
        if found is None:
            return None
        known, lease = found
        self._held.push_async_callback(lease.aclose)
        return as_endpoint(known)

    async def _start(self, notes: Path) -> Endpoint:
        known, release = await self._start_it(self._folder / "sandbox.db", self._chain)
        self._held.push_async_callback(release)
        await anyio.to_thread.run_sync(write_atomically, notes, json.dumps(known).encode())
        return as_endpoint(known)


async def running_page(folder: Path) -> str | None:
    """Return the address of the page of the folder's running simulator, or None. Starts and keeps nothing."""
    # Too quick for a thread, and most servers look before any simulator ran. A `Path` takes longer than the look.
    if not os.path.exists(f"{folder}{os.sep}{NOTES}"):  # noqa: ASYNC240
        return None
    found = await _leased(folder / NOTES)
    if found is None:
        return None
    known, lease = found
    await lease.aclose()
    return as_endpoint(known).control_url


async def _leased(notes: Path) -> tuple[dict[str, Any], SocketStream] | None:
    """Return the notes of a running simulator and a connection that keeps it running; None if it does not run."""
    try:
        known = json.loads(await anyio.Path(notes).read_text(encoding="utf-8"))
        port = known["lease_port"]
        if type(port) is not int or not 0 < port < 65_536:
            return None
        with anyio.fail_after(_LEASE_SECONDS):
            lease = await anyio.connect_tcp("127.0.0.1", port)
            # Another process may have the port by now; only the simulator in the notes knows its instance id.
            greeting = await lease.receive(200)
    except (OSError, ValueError, TypeError, KeyError, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError):
        return None
    if greeting.decode("ascii", "replace").strip() != known.get("instance"):
        await lease.aclose()
        return None
    return known, lease


async def start_process(database: Path, chain: bool = False) -> tuple[dict[str, Any], Release]:
    """Start the simulator as a process."""
    command = [sys.executable, "-I", "-m", "machines_mcp.sandbox", "--port", "0", "--leased", "--db", str(database)]
    command += ["--chain"] if chain else []
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MACHINES_")}
    process = await anyio.to_thread.run_sync(_spawn, command, environment)
    try:
        known = json.loads(await anyio.to_thread.run_sync(_first_line, process, abandon_on_cancel=True))
        as_endpoint(known)
    except BaseException:
        # No other server knows this process yet, so it is safe to kill.
        process.kill()
        _reap(process)
        raise
    return known, partial(_release, process)


def _spawn(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    # In its own session, so that a client that kills our process group does not stop other servers' simulator.
    return subprocess.Popen(  # noqa: S603 - our own module, no shell
        command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment, start_new_session=True
    )


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """Read the only line that the simulator prints, once it accepts connections."""
    stdout = cast(IO[bytes], process.stdout)
    with stdout:
        return stdout.readline(_MAX_LINE_BYTES)


async def _release(process: subprocess.Popen[bytes]) -> None:
    cast(IO[bytes], process.stdin).close()
    # It stops at once if this was the last lease. Otherwise other servers still use it.
    with anyio.move_on_after(_END_SECONDS):
        while process.poll() is None:  # noqa: ASYNC110 - no event for the exit of a Popen
            await anyio.sleep(_POLL_SECONDS)
    if process.returncode is None:
        _reap(process)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for the child in a thread, so that it leaves no zombie when it exits later."""
    if process.stdin is not None:
        process.stdin.close()
    threading.Thread(target=process.wait, name="machines-sandbox-end", daemon=True).start()


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    descriptor = open_or_make(path, os.O_RDWR)
    try:
        if sys.platform != "win32":
            import fcntl

            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await anyio.sleep(0.05)
        yield
    finally:
        os.close(descriptor)

"""The process: bind loopback, announce the URLs, and serve until stopped or the lease ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from machines_mcp.sandbox import chain_endpoint, settlement
from machines_mcp.sandbox.app import API_PATH, CONTROL_PATH, build
from machines_mcp.sandbox.connection import Connection
from machines_mcp.sandbox.lease import Lease
from machines_mcp.sandbox.state import State


@dataclass(frozen=True)
class Options:
    """Command-line options. `port` 0 picks a free port; without `db`, the state is lost on exit.

    `stdin` False: only connections hold the lease. A thread of a larger program must not read its stdin.
    `chain`: withdrawals can be executed on chains in this process.
    """

    port: int
    db: Path | None
    reset: bool
    leased: bool
    stdin: bool = True
    chain: bool = False


Announcement = dict[str, Any]


class _Server(uvicorn.Server):
    """Calls `on_listening` once it accepts connections, and handles signals without re-raising them."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        # Uvicorn's version re-raises the signal after a clean stop, so the process would not exit with 0.
        def stop(number: int, frame: FrameType | None) -> None:
            self.stop()

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Stop serving. Can be called from any thread."""
        self.should_exit = True


def print_json(announcement: Announcement) -> None:
    """Print the announcement as one line, which programs read."""
    print(json.dumps(announcement), flush=True)


def run(options: Options, announce: Callable[[Announcement], None] = print_json) -> int:
    """Serve until SIGINT, SIGTERM or the end of the lease. `announce` receives the URLs once they answer.

    Raises:
        OSError: the port is taken, or the file can't be opened.
        sqlite3.DatabaseError: the file is not a sandbox database of this version.
    """
    listener = listen(options.port)
    with contextlib.closing(listener):
        make_chains = settlement.make_chains if options.chain else None
        state = State.open(options.db, reset=options.reset, make_chains=make_chains)
        with contextlib.closing(state.db):
            with state.transaction():
                settlement.rebuild(state)
            asyncio.run(_serve(state, listener, options, announce))
    return 0


def configuration(state: State, origin: str) -> uvicorn.Config:
    """Return uvicorn's configuration for serving `state` at `origin`."""
    return uvicorn.Config(
        build(state, origin),
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )


def listen(port: int) -> socket.socket:
    """Listen on loopback; `port` 0 picks a free port."""
    # asyncio disables Nagle's algorithm only if the protocol is explicit. With Nagle, every response (head and body
    # are two writes) would wait 40 ms for the delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform != "win32":
        # On Windows this option would let another process take over the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


async def _serve(
    state: State, listener: socket.socket, options: Options, announce: Callable[[Announcement], None]
) -> None:
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    announcement: Announcement = {
        "base_url": origin + API_PATH,
        "partner_key": state.partner_key,
        "control_url": origin + CONTROL_PATH,
    }
    if state.chains is not None:
        announcement |= chain_endpoint.announcement(state.chains, origin)
    server = _Server(configuration(state, origin), lambda: announce(announcement))
    if options.leased:
        lease = Lease(server.stop, stdin=options.stdin)
        announcement |= {"lease_port": lease.port, "instance": lease.instance}
        lease.start()
    await server.serve([listener])

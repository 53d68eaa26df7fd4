"""Start the sandbox: in a thread of this process, or as a process of its own, as every user of it does."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from machines_mcp.sandbox import chain_endpoint, settlement
from machines_mcp.sandbox.app import API_PATH, CONTROL_PATH
from machines_mcp.sandbox.process import configuration, listen
from machines_mcp.sandbox.state import State
from tests.support.readable import is_readable
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox, as its first line describes it."""

    base_url: str
    partner_key: str
    control_url: str
    chains: Mapping[str, Any] = field(default_factory=dict)
    wallet: Mapping[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return self.control_url.removesuffix("/control")


@dataclass(frozen=True)
class LeasedSandbox(Sandbox):
    """A sandbox in a process of its own."""

    lease_port: int = field(kw_only=True)
    process: subprocess.Popen[bytes] = field(kw_only=True)


class _Server(uvicorn.Server):
    """Calls `on_listening` once it accepts connections: before that, a connection would be refused."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()


@contextmanager
def in_thread(db: Path | None = None, *, chain: bool = False) -> Iterator[Sandbox]:
    """Yield a sandbox that a thread of this process serves on loopback."""
    with closing(listen(0)) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        served: queue.SimpleQueue[tuple[Sandbox, uvicorn.Server] | None] = queue.SimpleQueue()

        def serve() -> None:
            try:
                # SQLite's connection stays in the thread that opened it.
                state = State.open(db, make_chains=settlement.make_chains if chain else None)
                with closing(state.db):
                    with state.transaction():
                        settlement.rebuild(state)
                    found = Sandbox(
                        origin + API_PATH, state.partner_key, origin + CONTROL_PATH, **_chains(state, origin)
                    )
                    server = _Server(configuration(state, origin), lambda: served.put((found, server)))
                    asyncio.run(server.serve([listener]))
            finally:
                served.put(None)

        thread = threading.Thread(target=serve, name="sandbox", daemon=True)
        thread.start()
        found = served.get(timeout=PATIENCE)
        assert found is not None, "the sandbox did not start"
        started, server = found
        try:
            yield started
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


def _chains(state: State, origin: str) -> dict[str, Any]:
    if state.chains is None:
        return {}
    announced = chain_endpoint.announcement(state.chains, origin)
    return {name: announced[name] for name in ("chains", "wallet")}


def spawn(*arguments: str, stdin: int = subprocess.PIPE) -> LeasedSandbox:
    """Start `python -m machines_mcp.sandbox --port 0 --leased` with these arguments and wait for its first line."""
    command = [sys.executable, "-m", "machines_mcp.sandbox", "--port", "0", "--leased", *arguments]
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        first = json.loads(first_line(process))
    except BaseException:
        end(process)
        raise
    return LeasedSandbox(
        first["base_url"],
        first["partner_key"],
        first["control_url"],
        first.get("chains", {}),
        first.get("wallet", {}),
        lease_port=first["lease_port"],
        process=process,
    )


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    """Read the first line on stdout, with a timeout."""
    assert process.stdout is not None
    line, deadline = b"", time.monotonic() + PATIENCE
    while not line.endswith(b"\n"):
        readable = is_readable(process.stdout, max(0.0, deadline - time.monotonic()))
        chunk = os.read(process.stdout.fileno(), 1) if readable else b""
        if not chunk:
            raise RuntimeError("the sandbox did not print its address")
        line += chunk
    return line


def end(process: subprocess.Popen[bytes]) -> None:
    """Release the lease, and kill the process if it does not exit."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(PATIENCE)
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def running(*arguments: str) -> Iterator[LeasedSandbox]:
    """Run a sandbox within a `with` block."""
    sandbox = spawn(*arguments)
    try:
        yield sandbox
    finally:
        end(sandbox.process)

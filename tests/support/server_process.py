"""A server process driven by raw lines, valid or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import anyio
from anyio.abc import Process

from tests.support.waiting import PATIENCE

Era = Literal["2025-11-25", "2026-07-28"]
ERAS: tuple[Era, ...] = ("2025-11-25", "2026-07-28")

SERVER = ("-m", "machines_mcp", "serve")
ODD_SERVER = ("-m", "tests.support.odd_server", "serve")

_ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
_HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}


def environment(state_dir: Path, **settings: str) -> dict[str, str]:
    """Return a server's environment, without the caller's settings."""
    ours = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(state_dir), "MACHINES_LOG_LEVEL": "DEBUG"}
    return {k: v for k, v in os.environ.items() if not k.startswith("MACHINES_")} | ours | settings


def request(era: Era, number: int | str, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Build a request in the era's form."""
    given = dict(params or {})
    if era == "2026-07-28":
        given["_meta"] = _ENVELOPE
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": given}


def call(era: Era, number: int | str, tool: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Build a tool call."""
    return request(era, number, "tools/call", {"name": tool, "arguments": dict(arguments or {})})


def greeting(era: Era) -> list[dict[str, Any]]:
    """Return the handshake messages of the era."""
    if era == "2026-07-28":
        return []
    hello = {"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": _HELLO}
    return [hello, {"jsonrpc": "2.0", "method": "notifications/initialized"}]


def lines(*messages: Mapping[str, Any] | bytes) -> bytes:
    """Encode messages as lines."""
    return b"".join((m if isinstance(m, bytes) else json.dumps(m).encode()) + b"\n" for m in messages)


def answered(output: bytes) -> dict[int | str | None, dict[str, Any]]:
    """Return a finished server's responses by id, after checking that each line is one message."""
    found: dict[int | str | None, dict[str, Any]] = {}
    for line in output.splitlines():
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        if "method" not in message:
            assert message["id"] not in found
            found[message["id"]] = message
    return found


@contextmanager
def started(
    state_dir: Path,
    *,
    stdin: int,
    command: Sequence[str] = SERVER,
    stdout: int = subprocess.PIPE,
    stderr: int | None = None,
    **settings: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server without a client, and kill it at the end of the block."""
    env = environment(state_dir, **settings)
    process = subprocess.Popen([sys.executable, *command], stdin=stdin, stdout=stdout, stderr=stderr, env=env)
    try:
        yield process
    finally:
        process.kill()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None and not stream.closed:
                stream.close()
        process.wait()


def run(
    state_dir: Path,
    stdin: int | bytes,
    *,
    command: Sequence[str] = SERVER,
    stdout: int = subprocess.PIPE,
    **settings: str,
) -> subprocess.CompletedProcess[bytes]:
    """Run a server until `stdin` ends. Bytes go through a pipe; a descriptor is passed on."""
    given = stdin if isinstance(stdin, bytes) else None
    source = subprocess.PIPE if isinstance(stdin, bytes) else stdin
    with started(
        state_dir, stdin=source, command=command, stdout=stdout, stderr=subprocess.PIPE, **settings
    ) as process:
        said, logged = process.communicate(given, timeout=PATIENCE)
        return subprocess.CompletedProcess(process.args, process.returncode, said, logged)


@dataclass
class Served:
    """A running server and its output so far."""

    process: Process
    era: Era
    stderr: Path
    stdout: bytearray = field(default_factory=bytearray)
    _next: int = 0
    _taken: int = 0

    async def send(self, *messages: Mapping[str, Any] | bytes) -> None:
        """Send messages, one per line."""
        await self.send_bytes(lines(*messages))

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        assert self.process.stdin is not None
        with anyio.fail_after(PATIENCE):
            await self.process.stdin.send(data)

    async def hang_up(self) -> None:
        """Close the server's standard input."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def message(self) -> dict[str, Any]:
        """Return the next unread line of the output."""
        assert self.process.stdout is not None
        with anyio.fail_after(PATIENCE):
            while (end := self.stdout.find(b"\n", self._taken)) < 0:
                self.stdout += await self.process.stdout.receive()
        line, self._taken = self.stdout[self._taken : end], end + 1
        found: dict[str, Any] = json.loads(bytes(line))
        return found

    async def ask(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and skip lines until its response."""
        self._next += 1
        number = f"ask-{self._next}"
        await self.send(request(self.era, number, method, params))
        while (found := await self.message()).get("id") != number:
            pass
        return found

    async def call(self, tool: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call a tool and return its result. A protocol error fails the test."""
        found = await self.ask("tools/call", {"name": tool, "arguments": dict(arguments or {})})
        assert "error" not in found, found
        return dict(found["result"])

    async def lives(self) -> None:
        """Check that the server still responds."""
        assert "result" in await self.ask("tools/list")

    async def ended(self) -> int:
        """Return the exit code once the server has ended."""
        with anyio.fail_after(PATIENCE):
            return await self.process.wait()

    def mark(self) -> tuple[int, int]:
        """Return the current positions in both outputs, for `said_since`."""
        return len(self.stdout), self.stderr.stat().st_size

    def said_since(self, mark: tuple[int, int]) -> str:
        """Return both outputs since the mark."""
        return (self.stdout[mark[0] :] + self.stderr.read_bytes()[mark[1] :]).decode()

    def said_on_stderr(self) -> str:
        """Return the server's whole log."""
        return self.stderr.read_text(encoding="utf-8")


@asynccontextmanager
async def serving(folder: Path, era: Era, *, command: Sequence[str] = SERVER, **settings: str) -> AsyncIterator[Served]:
    """Start a server, complete the handshake, and end it with the block."""
    log = folder / "stderr"
    with log.open("wb") as stderr:
        process = await anyio.open_process(
            [sys.executable, *command], stderr=stderr, env=environment(folder / "state", **settings)
        )
    served = Served(process, era, log)
    try:
        await served.send(*greeting(era))
        if era == "2025-11-25":
            assert (await served.message())["id"] == "hello"
        yield served
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()

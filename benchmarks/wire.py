"""A minimal client, JSON lines on two raw pipes, so that its own cost stays out of the measurement."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

Era = Literal["2025-11-25", "2026-07-28"]
ERAS: tuple[Era, ...] = get_args(Era)

STATUS: Mapping[str, Any] = {"name": "status", "arguments": {}}
ANSWER_SECONDS = 30.0
EXIT_SECONDS = 10.0
CLIENT = {"name": "benchmarks", "version": "1"}


class BenchmarkError(Exception):
    """A measured server did not respond, or refused a request."""


@dataclass(frozen=True, eq=False)
class Command:
    """How to start one of the servers."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    call: Mapping[str, Any] | None = field(default_factory=lambda: STATUS)
    """A cheap tool call that needs nothing outside this machine; None if the server has no such tool."""
    log: Path | None = None
    """A file for its stderr; None inherits the caller's."""


class Wire:
    """One running server and the two pipes to it; a context manager that ends the process."""

    def __init__(self, command: Command, era: Era) -> None:
        self._name = command.name
        self._era = era
        self._unread = b""
        self._last_id = 0
        with open(command.log or os.devnull, "ab") as log:
            self._process = subprocess.Popen(
                command.arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log if command.log else None,
                env=dict(command.environment),
                bufsize=0,
            )

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def greet(self) -> None:
        """Complete the handshake of this protocol revision."""
        if self._era == "2025-11-25":
            self.ask("initialize", {"protocolVersion": self._era, "capabilities": {}, "clientInfo": CLIENT})
            self.notify("notifications/initialized", {})
        else:
            self.ask("server/discover", {})

    def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request and wait for its result."""
        self.send(method, params)
        return self.receive()

    def send(self, method: str, params: Mapping[str, Any]) -> int:
        """Send one request and return its id."""
        self._last_id += 1
        if self._era == "2026-07-28":
            params = {**params, "_meta": _meta(self._era)}
        self._write({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params})
        return self._last_id

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send one notification."""
        self._write({"jsonrpc": "2.0", "method": method, "params": params})

    def timed(self, method: str, params: Mapping[str, Any]) -> float:
        """Send one request and return the milliseconds to its response. Parsing it is the client's work."""
        start = time.perf_counter()
        self.send(method, params)
        while True:
            line = self._line()
            taken = milliseconds_since(start)
            if self._result(line) is not None:
                return taken

    def receive(self) -> dict[str, Any]:
        """Return the next result, of any request; notifications are skipped."""
        while True:
            result = self._result(self._line())
            if result is not None:
                return result

    def _result(self, line: bytes) -> dict[str, Any] | None:
        """Return the result in a line, or None if it is a notification."""
        message = json.loads(line)
        if "method" in message:
            return None
        result: dict[str, Any] | None = message.get("result")
        if result is None or result.get("isError"):
            raise BenchmarkError(f"{self._name} refused: {json.dumps(message)[:500]}")
        return result

    def peak_megabytes(self) -> float | None:
        """Return the server's peak resident memory, or None if the system does not report it."""
        status = Path(f"/proc/{self._process.pid}/status")
        if not status.exists():
            return None
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return None

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    def _line(self) -> bytes:
        assert self._process.stdout
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            readable, _, _ = select.select([descriptor], [], [], ANSWER_SECONDS)
            chunk = os.read(descriptor, 1 << 16) if readable else b""
            if not chunk:
                raise BenchmarkError(f"{self._name} {'closed its output' if readable else 'did not answer'}")
            self._unread += chunk
        line, self._unread = self._unread.split(b"\n", 1)
        return line


def _meta(era: Era) -> dict[str, Any]:
    prefix = "io.modelcontextprotocol/"
    return {f"{prefix}protocolVersion": era, f"{prefix}clientInfo": CLIENT, f"{prefix}clientCapabilities": {}}


def milliseconds_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000

"""Start the sandbox as its own process, as every user of it does."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0
END_SECONDS = 5.0


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox, as its first line describes it."""

    base_url: str
    partner_key: str
    control_url: str
    lease_port: int
    process: subprocess.Popen[bytes]

    @property
    def origin(self) -> str:
        return self.control_url.removesuffix("/control")


def spawn(*arguments: str, stdin: int = subprocess.PIPE) -> Sandbox:
    """Start `python -m machines_mcp.sandbox --port 0 --leased` with these arguments and wait for its first line."""
    command = [sys.executable, "-m", "machines_mcp.sandbox", "--port", "0", "--leased", *arguments]
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        first = json.loads(first_line(process))
    except BaseException:
        end(process)
        raise
    return Sandbox(first["base_url"], first["partner_key"], first["control_url"], first["lease_port"], process)


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    """Read the first line on stdout, with a timeout."""
    assert process.stdout is not None
    line, deadline = b"", time.monotonic() + START_SECONDS
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(process.stdout.fileno(), 1) if readable else b""
        if not chunk:
            raise RuntimeError("the sandbox did not say where it is")
        line += chunk
    return line


def end(process: subprocess.Popen[bytes]) -> None:
    """Release the lease, and kill the process if it does not exit."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_SECONDS)
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def running(*arguments: str) -> Iterator[Sandbox]:
    """Run a sandbox within a `with` block."""
    sandbox = spawn(*arguments)
    try:
        yield sandbox
    finally:
        end(sandbox.process)

"""A leased sandbox lives exactly as long as someone holds its lease, however the holder ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.support.running_sandbox import ROOT, LeasedSandbox, first_line, running, spawn
from tests.support.waiting import PATIENCE, wait_until

HOLDER = """
import json, socket, subprocess, sys
command = [sys.executable, "-m", "machines_mcp.sandbox", "--port", "0", "--leased"]
sandbox = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
first = json.loads(sandbox.stdout.readline())
print(json.dumps(first), flush=True)
sys.stdin.read()
"""


def hold(sandbox: LeasedSandbox) -> socket.socket:
    return socket.create_connection(("127.0.0.1", sandbox.lease_port), timeout=PATIENCE)


def described(line: bytes, process: subprocess.Popen[bytes]) -> LeasedSandbox:
    first = json.loads(line)
    return LeasedSandbox(
        first["base_url"], first["partner_key"], first["control_url"], lease_port=first["lease_port"], process=process
    )


def responds(sandbox: LeasedSandbox) -> bool:
    port = int(sandbox.origin.rsplit(":", 1)[1])
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def keeps_running(sandbox: LeasedSandbox) -> bool:
    """Whether the sandbox still runs after handling every earlier lease event.

    The lease handles events in rounds and greets a new holder at the end of one. So all earlier events have
    been handled when a second holder is greeted after the first.
    """
    for _ in range(2):
        with hold(sandbox) as holder:
            if not holder.makefile("r", encoding="ascii").readline():
                return False
    return sandbox.process.poll() is None and responds(sandbox)


def is_released(connection: socket.socket) -> bool:
    """Whether the sandbox closes the connection after its greeting line."""
    connection.settimeout(PATIENCE)
    while received := connection.recv(4096):
        assert b"\n" in received
    return True


def test_exits_when_stdin_closes_and_nobody_holds_the_lease() -> None:
    with running() as sandbox:
        assert sandbox.process.stdin is not None
        sandbox.process.stdin.close()
        assert sandbox.process.wait(PATIENCE) == 0


def test_held_connection_keeps_it_alive_after_stdin_closes() -> None:
    with running() as sandbox:
        with hold(sandbox) as first, hold(sandbox):
            assert sandbox.process.stdin is not None
            sandbox.process.stdin.close()
            first.close()
            # The other holder is still connected.
            assert keeps_running(sandbox)
        assert sandbox.process.wait(PATIENCE) == 0


def test_holder_that_connects_as_the_last_one_leaves_keeps_it_alive() -> None:
    with running() as sandbox:
        assert sandbox.process.stdin is not None
        os.kill(sandbox.process.pid, signal.SIGSTOP)
        # While the sandbox is stopped, one holder connects and the last one leaves, so it sees both at once.
        with hold(sandbox):
            sandbox.process.stdin.close()
            os.kill(sandbox.process.pid, signal.SIGCONT)
            assert keeps_running(sandbox)
        assert sandbox.process.wait(PATIENCE) == 0


def test_each_holder_receives_the_instance_it_holds() -> None:
    with running() as sandbox, hold(sandbox) as first, hold(sandbox) as second:
        greetings = [connection.makefile("r", encoding="ascii").readline() for connection in (first, second)]
        assert greetings[0] == greetings[1]
        assert len(greetings[0].strip()) == 32


def test_open_stdin_keeps_it_alive_when_connections_come_and_go() -> None:
    with running() as sandbox:
        hold(sandbox).close()
        assert keeps_running(sandbox)


def test_exits_when_its_holder_is_killed() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        first = first_line(holder)
        sandbox = described(first, holder)
        with hold(sandbox) as witness:
            other = hold(sandbox)
            holder.kill()
            holder.wait(PATIENCE)
            assert responds(sandbox)
            other.close()
            witness.shutdown(socket.SHUT_WR)
            assert is_released(witness)
        wait_until(lambda: not responds(sandbox))
    finally:
        holder.kill()
        holder.wait(PATIENCE)
        for pipe in (holder.stdin, holder.stdout):
            if pipe is not None:
                pipe.close()


def test_connection_is_the_lease_when_stdin_is_the_null_device() -> None:
    sandbox = spawn(stdin=subprocess.DEVNULL)
    try:
        with hold(sandbox):
            assert responds(sandbox)
        assert sandbox.process.wait(PATIENCE) == 0
    finally:
        sandbox.process.kill()
        sandbox.process.wait(PATIENCE)
        assert sandbox.process.stdout is not None
        sandbox.process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_while_held_and_busy(number: signal.Signals) -> None:
    with running() as sandbox, hold(sandbox):
        port = int(sandbox.origin.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as talker:
            talker.sendall(b"POST /partner/v1/cards HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            os.kill(sandbox.process.pid, number)
            assert sandbox.process.wait(PATIENCE) == 0

"""The server as a process: its output, its exit, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from tests.support.waiting import SHORTER_THAN_A_WAIT, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and process groups")

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    },
}


def call(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


class PipedServer:
    """A server process with pipes."""

    def __init__(self, state: Path, stdin: int | IO[bytes], stdout: int | IO[bytes]) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("MACHINES_")}
        env |= {"MACHINES_STATE_DIR": str(state), "MACHINES_USER_ID": "process-user"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "machines_mcp"],
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def send(self, *messages: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(json.dumps(m).encode() + b"\n" for m in messages))
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def ended(self) -> int:
        return self.process.wait(SHORTER_THAN_A_WAIT)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., PipedServer]]:
    servers: list[PipedServer] = []

    def run(stdin: int | IO[bytes] = subprocess.PIPE, stdout: int | IO[bytes] = subprocess.PIPE) -> PipedServer:
        servers.append(PipedServer(tmp_path, stdin, stdout))
        return servers[-1]

    yield run
    for server in servers:
        server.process.kill()
        server.process.wait()
        for stream in (server.process.stdin, server.process.stdout, server.process.stderr):
            if stream is not None:
                stream.close()


def descendants(state: Path) -> list[str]:
    """Return the command lines of the processes that use this state folder."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(state) in line]


def ready(server: PipedServer) -> None:
    """Wait until the server's simulator runs."""
    server.send(INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert server.read()["id"] == 0
    server.send(call(1, "create_session", purpose="kyc"))
    assert server.read()["result"]["structuredContent"]["purpose"] == "kyc"


def test_stdout_has_only_protocol_and_stderr_is_empty(start: Callable[..., PipedServer]) -> None:
    server = start()
    ready(server)
    server.send(
        call(2, "no_such_tool"), call(3, "get_card", card_id=7), {"jsonrpc": "2.0", "id": 4, "method": "no/such"}
    )
    out, err = server.process.communicate(timeout=SHORTER_THAN_A_WAIT)
    lines = [json.loads(line) for line in out.splitlines()]
    assert sorted(line["id"] for line in lines) == [2, 3, 4]
    assert all(line["jsonrpc"] == "2.0" for line in lines)
    assert err == b""


@pytest.mark.parametrize("how", ["eof", "SIGTERM", "SIGINT"])
def test_server_exits_in_time_with_its_simulator(how: str, start: Callable[..., PipedServer], tmp_path: Path) -> None:
    server = start()
    ready(server)
    assert descendants(tmp_path)
    if how == "eof":
        assert server.process.stdin is not None
        server.process.stdin.close()
    else:
        server.process.send_signal(getattr(signal, how))
    assert server.ended() == 0
    wait_until(lambda: not descendants(tmp_path))


@pytest.mark.parametrize("how", ["eof", "SIGTERM", "SIGINT"])
def test_server_exits_in_time_while_a_call_waits(how: str, start: Callable[..., PipedServer], tmp_path: Path) -> None:
    server = start()
    ready(server)
    server.send(call(2, "get_kyc_status", wait_seconds=50), call(3, "status"))
    # A new user's KYC is `not_submitted`, which can't be waited for, and neither can an unknown deposit.
    answers = {server.read()["id"], server.read()["id"]}
    assert answers == {2, 3}
    server.send(call(4, "reveal_card", card_id="no-such-card"), call(5, "list_deposit_assets"))
    if how == "eof":
        assert server.process.stdin is not None
        server.process.stdin.close()
    else:
        server.process.send_signal(getattr(signal, how))
    assert server.ended() == 0
    wait_until(lambda: not descendants(tmp_path))


def test_killed_server_leaves_no_simulator(start: Callable[..., PipedServer], tmp_path: Path) -> None:
    server = start()
    ready(server)
    server.process.kill()
    wait_until(lambda: not descendants(tmp_path))


def test_two_servers_share_a_simulator_until_the_last_exits(start: Callable[..., PipedServer], tmp_path: Path) -> None:
    first, second = start(), start()
    ready(first)
    ready(second)
    assert len(descendants(tmp_path)) == 1
    first.process.send_signal(signal.SIGTERM)
    first.ended()
    second.send(call(2, "get_kyc_status"))
    assert second.read()["result"]["structuredContent"]["status"] == "not_submitted"
    second.process.kill()
    wait_until(lambda: not descendants(tmp_path))


def test_null_device_as_stdin_ends_the_server_immediately(start: Callable[..., PipedServer]) -> None:
    server = start(stdin=subprocess.DEVNULL)
    assert server.ended() == 0


def test_requests_in_a_file_are_all_answered(start: Callable[..., PipedServer], tmp_path: Path) -> None:
    script = [INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"}]
    script += [call(n, "status") for n in range(1, 6)] + [call(6, "create_session", purpose="kyc")]
    source = tmp_path / "requests.jsonl"
    source.write_text("".join(json.dumps(m) + "\n" for m in script), encoding="utf-8")
    with source.open("rb") as file, (tmp_path / "answers.jsonl").open("wb") as answers:
        server = start(stdin=file, stdout=answers)
        assert server.ended() == 0
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(line["id"] for line in lines) == list(range(7))
    assert all("result" in line for line in lines)

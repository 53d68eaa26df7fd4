"""The sandbox command: its output, its listener and its state file."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.loopback import accepted_socket
from tests.support.running_sandbox import ROOT, Sandbox, end, first_line, running, spawn
from tests.support.sandbox_caller import SandboxClient
from tests.support.waiting import PATIENCE


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "machines_mcp.sandbox", *arguments]


def test_stdout_has_only_the_first_line() -> None:
    process = subprocess.Popen(command("--port", "0"), stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=ROOT)
    try:
        first = json.loads(first_line(process))
        assert process.stdin is not None
        process.stdin.close()
        # Without a lease, the end of stdin has no effect.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert set(first) == {"base_url", "partner_key", "control_url"}
        port = int(first["base_url"].removesuffix("/partner/v1").rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as talker:
            talker.sendall(b"no HTTP at all\r\n\r\n")
            assert b"400" in talker.recv(100)
        assert httpx.get(first["base_url"] + "/balances", trust_env=False).status_code == 401
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b""
    finally:
        end(process)


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="looks for the socket among this process's descriptors")
def test_response_does_not_wait_for_an_acknowledgement(sandbox: Sandbox) -> None:
    """Head and body are two writes. With Nagle's algorithm, each response would take 40 ms on a warm connection."""
    with socket.create_connection(("127.0.0.1", int(sandbox.origin.rpartition(":")[2])), timeout=PATIENCE) as client:
        client.sendall(b"GET /partner/v1/balances HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        client.recv(1)
        with accepted_socket(client) as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_listens_on_loopback_only_and_on_the_given_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with running("--port", str(port)) as sandbox:
        assert sandbox.base_url == f"http://127.0.0.1:{port}/partner/v1"
        with pytest.raises(OSError, match=r"refused|unreachable|assign"):
            socket.create_connection(("127.0.0.2", port), timeout=PATIENCE).close()
        again = subprocess.run(
            command("--port", str(port)), capture_output=True, timeout=PATIENCE, cwd=ROOT, check=False
        )
        assert (again.returncode, again.stdout) == (1, b"")
        assert b"can't start" in again.stderr


@pytest.mark.parametrize("arguments", [(), ("--port", "no"), ("--port", "70000"), ("--port", "0", "--surprise")])
def test_invalid_arguments_are_named(arguments: tuple[str, ...]) -> None:
    ended = subprocess.run(command(*arguments), capture_output=True, timeout=PATIENCE, cwd=ROOT, check=False)
    assert (ended.returncode, ended.stdout) == (2, b"")
    (line,) = ended.stderr.splitlines()
    assert line.endswith(b"; see machines-mcp sandbox --help.")


def test_file_keeps_users_cards_keys_and_clock_across_restarts(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.db"
    with running("--db", str(file)) as sandbox:
        first = SandboxClient(sandbox)
        first.control("/clock", {"advanceSeconds": 100_000})
        user = first.funded_user(30)
        card = user.call("POST", "/cards", {}).data
        first.close()
    with running("--db", str(file)) as sandbox:
        second = SandboxClient(sandbox)
        assert sandbox.partner_key == first.sandbox.partner_key
        assert second.control("")["clockAheadSeconds"] == 100_000
        found = second.call("GET", f"/cards/{card['cardId']}", token=user.token).data
        assert found == card
        assert second.call("GET", "/balances", token=user.token).data["balances"]["spendingPower"] == 3000
        second.close()
    with running("--db", str(file), "--reset") as sandbox:
        third = SandboxClient(sandbox)
        assert sandbox.partner_key != first.sandbox.partner_key
        assert third.control("")["users"] == []
        third.close()


def test_acknowledged_writes_survive_a_kill(tmp_path: Path) -> None:
    sandbox = spawn("--db", str(tmp_path / "sandbox.db"))
    caller = SandboxClient(sandbox)
    try:
        user = caller.ready_user()
        headers = {"Idempotency-Key": "one-card-please"}
        card = user.call("POST", "/cards", {}, headers=headers).data
    finally:
        caller.close()
        sandbox.process.kill()
        end(sandbox.process)
    with running("--db", str(tmp_path / "sandbox.db")) as again:
        caller = SandboxClient(again)
        assert caller.call("POST", "/cards", {}, token=user.token, headers=headers).data == card
        assert len(caller.call("GET", "/cards", token=user.token).data["cards"]) == 1
        caller.close()


def test_file_is_private_and_contains_no_card_number(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.db"
    with running("--db", str(file)) as sandbox:
        caller = SandboxClient(sandbox)
        user = caller.ready_user()
        for _ in range(20):
            user.new_card()
        key = user.call("POST", "/cards/secrets/session", {}).data["secretKey"]
        data_key = user.call("GET", "/encryption/data-key").data["key"]
        caller.close()
        for path in tmp_path.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            content = path.read_bytes()
            for secret in (b"400000", key.encode(), bytes.fromhex(key), data_key.encode(), user.token.encode()):
                assert secret not in content


def test_unusable_file_is_reported_on_stderr(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("my notes", encoding="utf-8")
    ended = subprocess.run(
        command("--port", "0", "--db", str(file)), capture_output=True, timeout=PATIENCE, cwd=ROOT, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert b"can't start" in ended.stderr


def test_nothing_is_left_on_disk_without_a_file(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "SQLITE_TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        command("--port", "0"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment
    )
    try:
        first = json.loads(first_line(process))
        body = {"userId": "u", "scopes": ["kyc.read"]}
        headers = {"X-Partner-Key": first["partner_key"]}
        assert (
            httpx.post(first["base_url"] + "/sessions", json=body, headers=headers, trust_env=False).status_code == 200
        )
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        end(process)

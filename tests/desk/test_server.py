"""Test the desk's lifecycle: started on demand, shared by servers of one state folder, verified, and stopped."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from anyio.abc import ByteStream, SocketAttribute

from machines_mcp.desk import server
from machines_mcp.desk.peer_check import CHALLENGE, PROOF_PATH, make_challenge
from machines_mcp.permissions.policy import Limits, default_policy
from machines_mcp.storage.desk_note import ADDRESS_FILE, port_taken
from machines_mcp.web.loopback import listen_on_loopback
from tests.support.loopback import accepted_socket, serve_connections
from tests.support.running_desk import RunningDesk, browser, running_desk
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


def notes(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / ADDRESS_FILE).read_text(encoding="ascii")))


async def test_the_desk_file_names_the_address_and_is_private(tmp_path: Path, desk: RunningDesk) -> None:
    file = tmp_path / "state" / ADDRESS_FILE
    said = notes(file.parent)
    assert (said["address"], said["pid"]) == (desk.address, os.getpid())
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert desk.address.startswith("http://127.0.0.1:")
    assert await desk.desk.address() == desk.address


async def test_the_desk_stops_with_its_server_and_removes_its_file(tmp_path: Path) -> None:
    async with running_desk(tmp_path / "state") as desk:
        port = int(str(notes(tmp_path / "state")["port"]))
        with anyio.fail_after(PATIENCE):
            await desk.desk.close()
        await desk.desk.close()
        assert not (tmp_path / "state" / ADDRESS_FILE).exists()
        # Another program may have taken the port meanwhile, but that is not a desk.
        with suppress(OSError, anyio.EndOfStream, anyio.BrokenResourceError), anyio.move_on_after(3):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                assert b"content-security-policy" not in (await stream.receive()).lower()


async def test_the_desk_stops_despite_an_open_connection(tmp_path: Path) -> None:
    async with running_desk(tmp_path / "state") as desk:
        port = int(str(notes(tmp_path / "state")["port"]))
        stream = await anyio.connect_tcp("127.0.0.1", port)
        await stream.send(b"POST / HTTP/1.1\r\n")
        with anyio.fail_after(PATIENCE):
            await desk.desk.close()
        await stream.aclose()


async def test_a_second_server_returns_the_address_of_the_first_desk(tmp_path: Path, desk: RunningDesk) -> None:
    async with running_desk(tmp_path / "state") as second:
        assert second.address == desk.address
        # The second server must not stop the desk of the first.
        await second.desk.close()
        assert notes(tmp_path / "state")["address"] == desk.address
        assert await second.desk.find() == desk.address


@pytest.mark.parametrize("other", ["key", "policy", "environment"])
async def test_a_desk_of_another_folder_or_policy_is_not_accepted(
    tmp_path: Path, desk: RunningDesk, other: str
) -> None:
    policy = default_policy("sandbox", read_only=False)
    if other == "policy":
        policy = replace(policy, limits=Limits(per_day_cents=1))
    environment, key = ("embedded" if other == "environment" else "sandbox"), (b"z" if other == "key" else b"k")
    async with running_desk(tmp_path / "state", environment, policy=policy, key=key) as second:
        assert second.address != desk.address


@asynccontextmanager
async def impostor(answer: bytes) -> AsyncIterator[int]:
    """Run a program that has taken the desk's port and sends these responses."""

    async def serve(stream: ByteStream) -> None:
        await stream.receive()
        if answer:
            await stream.send(answer)
        else:
            await anyio.sleep_forever()

    async with serve_connections(serve) as port:
        yield port


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + b"0" * 64,
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"x" * 100_000,
        b"",
    ],
    ids=["wrong", "empty", "endless", "silent"],
)
async def test_an_impostor_on_the_desks_port_is_not_accepted(tmp_path: Path, answer: bytes) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    async with impostor(answer) as port:
        (folder / ADDRESS_FILE).write_text(json.dumps({"address": f"http://127.0.0.1:{port}/", "port": port, "pid": 1}))
        with anyio.fail_after(PATIENCE):
            async with running_desk(folder) as desk:
                assert urlsplit(desk.address).port != port
                assert notes(folder)["address"] == desk.address


@pytest.mark.parametrize("text", ["", "{", "[]", '{"port": "x"}', '{"port": -1}', '{"port": 99999}', '{"port": null}'])
async def test_an_invalid_desk_file_is_replaced(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    (folder / ADDRESS_FILE).write_text(text)
    async with running_desk(folder) as desk:
        assert notes(folder)["address"] == desk.address


@pytest.mark.parametrize("made_with", ["", "x", "0" * 128, "G" * 128, "another key", "another port"])
async def test_the_desk_proves_itself_only_to_a_server_of_its_folder(desk: RunningDesk, made_with: str) -> None:
    parts = urlsplit(desk.address)
    proof, port = f"http://{parts.netloc}{PROOF_PATH}", parts.port or 0
    made = {"another key": make_challenge(b"z", port), "another port": make_challenge(b"k", port + 1)}
    challenge = made.get(made_with, made_with)
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(proof, headers={CHALLENGE: challenge} if challenge else {})
        assert (answer.status_code, answer.text) == (404, "There is no page at this address.\n")
        one, two = [(await http.get(proof, headers={CHALLENGE: make_challenge(b"k", port)})).text for _ in range(2)]
    assert len(one) == len(two) == 64 and one != two


async def test_idle_connections_of_another_program_keep_nobody_out(desk: RunningDesk) -> None:
    port = urlsplit(desk.address).port or 0
    async with AsyncExitStack() as stack, browser(desk, signed_in=False) as person:
        for number in range(200):
            stream = await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", port))
            if number % 2:
                await stream.send(b"POST /sign-in HTTP/1.1\r\nContent-Length: 99\r\n")
        assert (await person.sign_in()).status_code == 303
        assert (await person.get()).status_code == 200


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="looks for the socket among this process's descriptors")
async def test_responses_are_sent_without_delay(desk: RunningDesk) -> None:
    """Nagle's algorithm would delay the second of two small writes until the first is acknowledged (40 ms)."""
    parts = urlsplit(desk.address)
    async with await anyio.connect_tcp("127.0.0.1", parts.port or 0) as client:
        await client.send(f"GET {parts.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await client.receive()
        with accepted_socket(client.extra(SocketAttribute.raw_socket)) as accepted:  # noqa: S610
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def kill(desk: RunningDesk) -> None:
    """End the desk as the death of its process would: without removing the note of its address."""
    note = desk.guard.store.folder / ADDRESS_FILE
    text = note.read_text(encoding="ascii")
    await desk.desk.close()
    note.write_text(text, encoding="ascii")


async def answers_at(desk: RunningDesk, address: str) -> None:
    """Wait until a desk of this folder answers at the address."""
    with anyio.fail_after(PATIENCE):
        while await desk.desk.find() != address:  # noqa: ASYNC110 - another server takes it over
            await anyio.sleep(0.05)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "ended"])
async def test_another_server_that_gave_the_address_keeps_it(tmp_path: Path, killed: bool) -> None:
    async with running_desk(tmp_path / "state") as first, running_desk(tmp_path / "state") as second:
        approval = await second.ask()
        await (kill(first) if killed else first.desk.close())
        await answers_at(second, first.address)
        assert second.address == first.address == await second.desk.address()
        assert second.desk.taken_port() is None
        async with browser(second) as person:
            assert (await person.get(f"/decisions/{approval.id}")).status_code == 200


async def test_after_the_last_server_the_address_is_new(tmp_path: Path) -> None:
    ports = set()
    for _ in range(3):
        async with running_desk(tmp_path / "state") as desk:
            ports.add(urlsplit(desk.address).port)
            await kill(desk)
    assert len(ports) > 1


async def test_one_of_several_servers_takes_the_address_over(tmp_path: Path, desk: RunningDesk) -> None:
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(running_desk(tmp_path / "state")) for _ in range(3)]
        assert {other.address for other in others} == {desk.address}
        await kill(desk)
        await answers_at(others[0], desk.address)
        assert [await other.desk.address() for other in others] == [desk.address] * 3


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "ended"])
async def test_a_server_that_starts_before_the_takeover_gets_the_same_address(tmp_path: Path, killed: bool) -> None:
    folder = tmp_path / "state"
    async with running_desk(folder) as first, running_desk(folder) as second, AsyncExitStack() as stack:
        async with second.desk._lock:  # so that it has not noticed the end of the first yet
            await (kill(first) if killed else first.desk.close())
            third = await stack.enter_async_context(running_desk(folder))
        assert third.address == first.address == await second.desk.address()
        assert second.desk.taken_port() is None


async def test_a_port_that_another_program_took_is_left_and_told(
    tmp_path: Path, desk: RunningDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "WATCH_SECONDS", 0.05)
    async with running_desk(tmp_path / "state") as second:
        port = urlsplit(desk.address).port or 0
        async with second.desk._lock:  # so that it can't be quicker than the other program
            await kill(desk)
            stranger = listen_on_loopback(8, port)
        with stranger:
            with anyio.fail_after(PATIENCE):
                while second.desk.taken_port() is None:  # noqa: ASYNC110 - it polls too
                    await anyio.sleep(0.05)
            moved = await second.desk.address()
            assert moved is not None and urlsplit(moved).port != port
            assert second.desk.taken_port() == port
            assert str(port) in port_taken(port) and "passphrase" in port_taken(port)


async def test_a_fixed_port_is_used_and_if_it_is_taken_a_new_one(tmp_path: Path) -> None:
    with listen_on_loopback(8) as free:
        port = free.getsockname()[1]
        async with running_desk(tmp_path / "one", port=port) as desk:
            assert urlsplit(desk.address).port != port and desk.desk.taken_port() == port
    async with running_desk(tmp_path / "two", port=port) as desk:
        assert urlsplit(desk.address).port == port and desk.desk.taken_port() is None


async def test_a_service_worker_is_never_served(desk: RunningDesk) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        for path in ("", "desk.css", "icon.svg", "sign-in"):
            assert (await http.get(desk.address + path)).status_code != 404 or path == "sign-in"
            answer = await http.get(desk.address + path, headers={"Service-Worker": "script"})
            assert (answer.status_code, answer.text) == (404, "There is no page at this address.\n")

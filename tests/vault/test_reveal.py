from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from machines_mcp.redaction.secret import Secret
from machines_mcp.vault.client import COMMAND, reveal
from machines_mcp.vault.reply import VaultReply, failed, reply_line
from machines_mcp.vault.request import VaultRequest
from tests.support.vault_simulator import OpenedCard, Simulator, wiretap
from tests.support.waiting import PATIENCE
from tests.vault.children import program, switchboard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import Process

pytestmark = pytest.mark.anyio

# A minimal server: one reveal by the production module, its reply on stdout, and all other output on stderr.
SERVER = """
import sys, json, anyio
from machines_mcp.vault.client import COMMAND, reveal
from machines_mcp.vault.reply import reply_line
from machines_mcp.vault.request import parse_request
command = json.loads(sys.stdin.readline()) or COMMAND
reply = anyio.run(lambda: reveal(parse_request(sys.stdin.readline().encode()), command=command))
sys.stdout.buffer.write(reply_line(reply))
"""


def _fields(api: Simulator, card: OpenedCard, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "base_url": api.base_url,
        "partner_key": api.partner_key,
        "user_id": card.user_id,
        "card_id": card.card_id,
        "last4": card.last4,
        "sink": "none",
        "deadline_seconds": PATIENCE,
    }
    return fields | changes


async def _reveal(api: Simulator, card: OpenedCard, **changes: Any) -> VaultReply:
    fields = _fields(api, card, **changes)
    with anyio.fail_after(PATIENCE + 5):
        return await reveal(VaultRequest(**fields | {"partner_key": Secret(fields["partner_key"])}))


def _verified(card: OpenedCard) -> VaultReply:
    month, year = card.expiry
    return VaultReply(
        status="verified",
        code="verified",
        sink="none",
        brand="VISA",
        last4=card.last4,
        expiration_month=month,
        expiration_year=year,
    )


@asynccontextmanager
async def _server(fields: dict[str, Any], command: tuple[str, ...] | None = None) -> AsyncIterator[Process]:
    async with await anyio.open_process(program(SERVER), stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        await process.stdin.send(f"{json.dumps(command)}\n{json.dumps(fields)}\n".encode())
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def _output(process: Process) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    heard = bytearray(), bytearray()

    async def hear(stream: Any, into: bytearray) -> None:
        async for chunk in stream:
            into.extend(chunk)

    with anyio.fail_after(PATIENCE + 5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hear, process.stdout, heard[0])
            tasks.start_soon(hear, process.stderr, heard[1])
        await process.wait()
    return bytes(heard[0]), bytes(heard[1])


def _leaks(output: bytes, secrets: list[str]) -> list[str]:
    """Return the secrets that the output contains, verbatim, reversed, in hex or in base64."""
    text = output.decode("latin-1")
    compact = text.translate(str.maketrans("", "", " -_.\n"))

    def spellings(secret: str) -> list[str]:
        raw = secret.encode()
        # Whole groups of three bytes at each alignment, so that the surrounding bytes don't matter.
        base64s = [base64.b64encode(b"\0" * pad + raw)[4 if pad else 0 : -4].decode() for pad in range(3)]
        return [secret, secret[::-1], raw.hex(), raw.hex().upper(), *base64s]

    return [secret for secret in secrets if any(form in text or form in compact for form in spellings(secret))]


async def test_a_card_of_the_simulator_is_verified(api: Simulator, card: OpenedCard) -> None:
    assert await _reveal(api, card) == _verified(card)


async def test_a_record_with_different_last_digits_is_a_mismatch(api: Simulator, card: OpenedCard) -> None:
    other = str((int(card.last4) + 1) % 10_000).zfill(4)
    assert await _reveal(api, card, last4=other) == failed("secrets.mismatch")


async def test_the_card_of_another_user_is_not_found(api: Simulator, card: OpenedCard) -> None:
    stranger = api.card("user-2")
    assert await _reveal(api, stranger, user_id=card.user_id) == failed("card.not_found")


async def test_an_unknown_card_is_not_found(api: Simulator, card: OpenedCard) -> None:
    assert await _reveal(api, card, card_id="no-such-card") == failed("card.not_found")


async def test_an_unknown_partner_key_is_rejected(api: Simulator, card: OpenedCard) -> None:
    assert await _reveal(api, card, partner_key="no-such-key") == failed("partner.rejected")


async def test_an_unreachable_host_is_unavailable(api: Simulator, card: OpenedCard) -> None:
    # Bound but never listening, so that no other program takes the port meanwhile.
    async with await anyio.create_udp_socket(local_host="127.0.0.1") as udp:
        port = udp.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610
        assert await _reveal(api, card, base_url=f"http://127.0.0.1:{port}/partner/v1") == failed("partner.unavailable")


async def test_a_silent_host_reaches_the_deadline(api: Simulator, card: OpenedCard) -> None:
    async with switchboard() as board:
        slow = f"http://127.0.0.1:{board.port}/partner/v1"
        assert await _reveal(api, card, base_url=slow, deadline_seconds=4.0) == failed("deadline")


async def test_no_secret_appears_in_the_reply_or_on_stderr(api: Simulator, card: OpenedCard) -> None:
    async with wiretap(api) as tap, _server(_fields(api, card, base_url=tap.base_url)) as server:
        stdout, stderr = await _output(server)
    assert stdout == reply_line(_verified(card))
    assert stderr == b""
    secrets = [card.number, api.partner_key, *tap.secrets()]
    assert _leaks(bytes(tap.heard), secrets[1:]) == secrets[1:]
    assert _leaks(stdout + stderr, secrets) == []


async def test_the_vaults_calls_are_traced_without_secrets(api: Simulator, card: OpenedCard, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_bytes(b'{"path":"/balances"}\n')
    async with wiretap(api) as tap:
        assert await _reveal(api, card, base_url=tap.base_url, trace=str(trace)) == _verified(card)
        secrets = [card.number, api.partner_key, *tap.secrets()]
    lines = [json.loads(line) for line in trace.read_bytes().splitlines()]
    paths = ["/balances", "/sessions", "/cards/secrets/session", "/cards/{cardId}/secrets"]
    assert [line["path"] for line in lines] == paths
    assert _leaks(trace.read_bytes(), secrets) == []
    # The milliseconds may equal the three-digit code.
    for line in lines:
        line.pop("ms", None)
    assert card.code not in json.dumps(lines)


@pytest.mark.parametrize(
    "spelling",
    ["{0}", "{0[0]} {0[1]}{0[2]}-{rest}", "{reverse}", "{hex}", "{base64}", "x{base64}", "{shifted}"],
)
async def test_a_planted_leak_on_stderr_is_found(api: Simulator, card: OpenedCard, spelling: str) -> None:
    number = card.number
    leak = spelling.format(
        number,
        rest=number[3:],
        reverse=number[::-1],
        hex=number.encode().hex(),
        base64=base64.b64encode(number.encode()).decode(),
        shifted=base64.b64encode(b"y" + number.encode() + b"z").decode(),
    )
    command = program(f"import sys; sys.stdin.readline(); sys.stderr.write({leak!r})")
    async with _server(_fields(api, card), command) as server:
        stdout, stderr = await _output(server)
    assert _leaks(stdout + stderr, [number]) == [number]


async def test_a_card_number_in_the_reply_is_refused_and_not_forwarded(api: Simulator, card: OpenedCard) -> None:
    sound = reply_line(_verified(card))
    for planted in (
        sound.replace(b'"VISA"', f'"{card.number}"'.encode()),
        sound.replace(b'"sink"', f'"pan":"{card.number}","sink"'.encode()),
        sound + card.number.encode(),
    ):
        command = program(f"import os, sys; sys.stdin.readline(); os.write(1, {planted!r})")
        async with _server(_fields(api, card), command) as server:
            stdout, stderr = await _output(server)
        assert stdout == reply_line(failed("vault.protocol"))
        assert _leaks(stdout + stderr, [card.number]) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9")
async def test_the_vault_dies_with_a_killed_server(api: Simulator, card: OpenedCard) -> None:
    async with switchboard() as board:
        fields = _fields(api, card, base_url=f"http://127.0.0.1:{board.port}/partner/v1", deadline_seconds=120.0)
        async with _server(fields) as server:
            with anyio.fail_after(PATIENCE):
                child = await board.line()
            server.send_signal(signal.SIGKILL)
            # Sooner than the vault's own deadline.
            with anyio.fail_after(PATIENCE):
                await child.closed()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_proc_shows_no_environment_or_secret_arguments_of_the_vault(api: Simulator, card: OpenedCard) -> None:
    async with switchboard() as board:
        fields = _fields(api, card, base_url=f"http://127.0.0.1:{board.port}/partner/v1")
        async with _server(fields) as server:
            with anyio.fail_after(PATIENCE):
                await board.line()
            (pid,) = _children(server.pid)
            assert _arguments(pid) == list(COMMAND)
            assert _environ(pid) == b""
            assert _environ(server.pid) != b""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_waiting_vault_has_no_open_output_and_no_core_files(api: Simulator, card: OpenedCard) -> None:
    async with switchboard() as board:
        fields = _fields(api, card, base_url=f"http://127.0.0.1:{board.port}/partner/v1")
        async with _server(fields) as server:
            with anyio.fail_after(PATIENCE):
                await board.line()
            (pid,) = _children(server.pid)
            confinement = _confinement(pid)
    if confinement is not None:
        assert confinement == (os.devnull, os.devnull, ["0", "0"])


def _children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def _confinement(pid: int) -> tuple[str, str, list[str]] | None:
    """Return the targets of both outputs and the core file limits, or None if the system hides them."""
    limits = Path(f"/proc/{pid}/limits")
    try:
        outputs = [os.readlink(f"/proc/{pid}/fd/{number}") for number in (1, 2)]
        (core,) = [line for line in limits.read_text(encoding="utf-8").splitlines() if "core file" in line]
    except PermissionError:
        return None
    return outputs[0], outputs[1], core.split()[4:6]


def _arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")[:-1]


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        # Not dumpable: hidden even from its own user.
        return b""

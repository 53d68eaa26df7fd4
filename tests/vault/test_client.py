from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import anyio
import pytest
from anyio.abc import Process

from machines_mcp.vault import client as vault_client
from machines_mcp.vault.client import can_start, reveal
from machines_mcp.vault.reply import Code, VaultReply, failed, reply_line
from machines_mcp.vault.request import VaultRequest
from tests.support.clock import advance_loop_clock
from tests.support.waiting import PATIENCE
from tests.vault.children import ChildLine, Switchboard, program, switchboard

pytestmark = pytest.mark.anyio

VERIFIED = VaultReply(
    status="verified",
    code="verified",
    sink="none",
    brand="VISA",
    last4="0421",
    expiration_month=12,
    expiration_year=2031,
)
GOOD = reply_line(VERIFIED)
READ = "import os, sys; sys.stdin.readline(); "


def _child_that_writes(*parts: bytes, then: str = "") -> tuple[str, ...]:
    writes = "".join(f"os.write(1, {part!r}); " for part in parts)
    return program(READ + writes + then)


async def _code(request: VaultRequest, command: tuple[str, ...], deadline: float = PATIENCE) -> Code:
    with anyio.fail_after(PATIENCE + 5):
        reply = await reveal(request.model_copy(update={"deadline_seconds": deadline}), command=command)
    assert reply == failed(reply.code)
    return reply.code


async def _run_to_deadline(request: VaultRequest, board: Switchboard, rest: str) -> tuple[ChildLine, dict[str, Any]]:
    """Return a child that was still busy with `rest` at its deadline, and its report."""
    found: list[tuple[ChildLine, dict[str, Any]]] = []

    async def reach_the_deadline() -> None:
        child = await board.line()
        found.append((child, await child.report()))
        advance_loop_clock(PATIENCE / 2)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reach_the_deadline)
        assert await _code(request, board.reporting(rest), deadline=PATIENCE / 2) == "deadline"
    return found[0]


@pytest.mark.parametrize("parts", [(GOOD,), (GOOD[:7], GOOD[7:])], ids=["whole", "in pieces"])
async def test_one_valid_reply_is_returned(request_to_closed_port: VaultRequest, parts: tuple[bytes, ...]) -> None:
    with anyio.fail_after(PATIENCE):
        assert await reveal(request_to_closed_port, command=_child_that_writes(*parts)) == VERIFIED


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(_child_that_writes(), id="nothing"),
        pytest.param(_child_that_writes(b"garbage\n"), id="garbage"),
        pytest.param(_child_that_writes(b"\xff\x00\n"), id="bytes"),
        pytest.param(_child_that_writes(GOOD[:-1]), id="no newline"),
        pytest.param(_child_that_writes(GOOD[:20]), id="half a line"),
        pytest.param(_child_that_writes(GOOD, GOOD), id="two lines"),
        pytest.param(_child_that_writes(b"\n", GOOD), id="a line before"),
        pytest.param(_child_that_writes(GOOD, b"9"), id="a byte after"),
        pytest.param(_child_that_writes(b" " * 5_000), id="too much"),
        pytest.param(_child_that_writes(GOOD, b"9" * 5_000), id="too much after a reply"),
        pytest.param(program(READ + "[os.write(1, b'9' * 4096) for _ in iter(int, 1)]"), id="no end"),
        pytest.param(_child_that_writes(GOOD.replace(b"0421", b"0422")), id="another card"),
        pytest.param(_child_that_writes(GOOD.replace(b'"0421"', b'"0421","number":"9"')), id="a field more"),
        pytest.param(_child_that_writes(GOOD, then="os._exit(1)"), id="a reply and a bad exit"),
        pytest.param(_child_that_writes(GOOD, then="os.kill(os.getpid(), 9)"), id="a reply and a kill"),
        pytest.param(program("raise SystemExit(0)"), id="the request unread"),
        pytest.param((sys.executable, "-I", "-m", "machines_mcp.no_such_module"), id="no such module"),
    ],
)
async def test_any_other_output_of_the_child_is_a_protocol_error(
    request_to_closed_port: VaultRequest, command: tuple[str, ...]
) -> None:
    assert await _code(request_to_closed_port, command) == "vault.protocol"


async def test_the_vault_starts() -> None:
    assert await can_start()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((sys.executable, "-I", "-m", "machines_mcp.no_such_module"), id="no such module"),
        pytest.param(("/no/such/interpreter",), id="no such interpreter"),
        pytest.param(_child_that_writes(), id="nothing"),
        pytest.param(_child_that_writes(GOOD), id="a card that nobody asked for"),
        pytest.param(_child_that_writes(reply_line(failed("internal")), then="os._exit(1)"), id="a bad exit"),
    ],
)
async def test_a_program_that_does_not_answer_like_the_vault_cannot_start(command: tuple[str, ...]) -> None:
    assert not await can_start(command=command)


async def test_a_vault_that_hangs_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_client, "START_SECONDS", 0.2)
    with anyio.fail_after(PATIENCE):
        assert not await can_start(command=program("import time; time.sleep(60)"))


async def test_a_command_that_cannot_start_fails_the_reveal(request_to_closed_port: VaultRequest) -> None:
    assert await _code(request_to_closed_port, ("/no/such/python",)) == "internal"


async def test_a_child_that_dies_before_the_request_is_a_protocol_error(
    request_to_closed_port: VaultRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def open_and_outlive(*args: Any, **options: Any) -> Process:
        process = await open_process(*args, **options)
        await process.wait()
        return process

    open_process = anyio.open_process
    monkeypatch.setattr(anyio, "open_process", open_and_outlive)
    assert await _code(request_to_closed_port, program("")) == "vault.protocol"


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param("time.sleep(600)", id="silent"),
        pytest.param(f"os.write(1, {GOOD!r}); os.close(1); time.sleep(600)", id="a reply, a closed pipe, no end"),
        pytest.param(
            "import signal\nfor name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):\n"
            "    signal.signal(name, signal.SIG_IGN)\ntime.sleep(600)",
            id="deaf to signals",
        ),
    ],
)
async def test_the_child_is_killed_and_reaped_at_the_deadline(request_to_closed_port: VaultRequest, rest: str) -> None:
    async with switchboard() as board:
        child, report = await _run_to_deadline(request_to_closed_port, board, rest)
        with anyio.fail_after(PATIENCE):
            await child.closed()
        with pytest.raises(ProcessLookupError):
            os.kill(report["pid"], 0)


async def test_cancellation_kills_and_reaps_the_child(request_to_closed_port: VaultRequest) -> None:
    async with switchboard() as board:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                command = board.reporting("time.sleep(600)")

                async def reveal_for_long() -> None:
                    await reveal(request_to_closed_port, command=command)
                    pytest.fail("the reveal ended by itself")

                tasks.start_soon(reveal_for_long)
                child = await board.line()
                report = await child.report()
                tasks.cancel_scope.cancel()
            await child.closed()
        with pytest.raises(ProcessLookupError):
            os.kill(report["pid"], 0)


async def test_a_protocol_violation_ends_the_child_before_the_deadline(request_to_closed_port: VaultRequest) -> None:
    async with switchboard() as board:
        command = board.reporting("os.write(1, b'9' * 5000); time.sleep(600)")
        assert await _code(request_to_closed_port, command) == "vault.protocol"
        with anyio.fail_after(PATIENCE):
            child = await board.line()
            await child.closed()


async def test_the_child_inherits_no_environment_secret_or_descriptor(
    request_to_closed_port: VaultRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACHINES_PARTNER_KEY", "key-in-the-environment")
    inheritable = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(inheritable, True)
    async with switchboard() as board:
        _, report = await _run_to_deadline(request_to_closed_port, board, "time.sleep(600)")
    os.close(inheritable)
    # Python itself sets this one name when it coerces a missing locale to UTF-8.
    assert set(report["environ"]) <= {"LC_CTYPE"}
    assert "key-under-test" not in str(report["argv"])
    assert report["session"] == report["pid"]
    # The three standard descriptors, the line to this test, and the one that lists them.
    assert len(report["descriptors"]) == 5


async def test_the_child_receives_the_complete_request(request_to_closed_port: VaultRequest) -> None:
    echo = program(
        "import json, os; line = os.read(0, 65536); request = json.loads(line); "
        "expected = {'partner_key': 'key-under-test', 'last4': '0421', 'user_id': 'user-1', 'deadline_seconds': 20.0}; "
        "sound = line.endswith(b'\\n') and expected.items() <= request.items(); "
        f"os.write(1, {GOOD!r} if sound else b'')"
    )
    with anyio.fail_after(PATIENCE):
        assert await reveal(request_to_closed_port, command=echo) == VERIFIED


def test_the_vault_client_loads_neither_cipher_nor_http_client() -> None:
    source = (
        "import sys, machines_mcp.vault.client; "
        "print(sorted({'httpx', 'cryptography', 'machines_mcp.partner'} & set(sys.modules)))"
    )
    done = subprocess.run(program(source), capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "[]\n"

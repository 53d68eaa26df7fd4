"""Test progress on stderr: a bar at a terminal, lines elsewhere, and interruption."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import Context
from pathlib import Path
from typing import TextIO

import anyio
import anyio.to_thread
import pytest

from machines_mcp.cli.progress import reporting_on
from machines_mcp.partner import PartnerClient
from machines_mcp.testing import Simulator, simulator
from tests.cli.test_root import environment
from tests.support.known_users import introduce
from tests.support.waiting import PATIENCE

COLOUR = re.compile(r"\x1b\[[\d;]*(?:3[0-9]|9[0-7])[\d;]*m")
STATES = ((0.0, "the deposit"), (0.5, "the deposit"))


def screen_during_wait(monkeypatch: pytest.MonkeyPatch, **settings: str) -> str:
    """Return what a terminal receives during a wait."""
    for name, value in ({"TERM": "xterm-256color", "COLUMNS": "80"} | settings).items():
        monkeypatch.setenv(name, value)

    async def wait(stream: TextIO) -> None:
        with reporting_on(stream) as tell:
            for share, what in STATES:
                await tell(share, 1.0, what)

    ours, theirs = os.openpty()
    with open(theirs, "w", encoding="utf-8") as stream:
        Context().run(anyio.run, wait, stream)
    seen = b""
    with open(ours, "rb", buffering=0) as terminal, suppress(OSError):  # the terminal was closed
        while piece := terminal.read(4096):
            seen += piece
    return seen.decode()


def test_a_terminal_shows_a_bar_and_erases_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    seen = screen_during_wait(monkeypatch)
    assert "Waiting for the deposit" in seen
    assert COLOUR.search(seen)
    assert seen.rstrip("\r\n").endswith("\x1b[2K")


def test_a_terminal_without_colour_gets_a_plain_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = screen_during_wait(monkeypatch, NO_COLOR="1")
    assert "Waiting for the deposit" in seen
    assert not COLOUR.search(seen)


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = screen_during_wait(monkeypatch, TERM="dumb")
    assert seen.splitlines() == [f"Waiting for the deposit: {n}% of the wait time has passed" for n in (0, 50)]


@pytest.fixture
async def waiting(tmp_path: Path) -> AsyncIterator[Simulator]:
    """A simulator with one user whose identity check stays pending."""
    async with simulator(tmp_path) as found:
        async with PartnerClient(found.endpoint.base_url, found.endpoint.partner_key) as partner:
            await partner.users.resolve("user-1")
        await found.finish_kyc("user-1", "pending")
        await introduce(found.env, "user-1")
        yield found


WAIT = [sys.executable, "-m", "machines_mcp", "call", "get_kyc_status"]
WAIT += [json.dumps({"user_id": "user-1", "wait_seconds": 50})]


@pytest.mark.anyio
@pytest.mark.check
async def test_a_wait_prints_lines_and_ends_on_ctrl_c(waiting: Simulator, tmp_path: Path) -> None:
    with anyio.fail_after(PATIENCE):
        async with await anyio.open_process(WAIT, env=environment(tmp_path)) as process:
            assert process.stderr is not None
            assert process.stdout is not None
            told = (await process.stderr.receive()).decode()
            # On a busy machine, the first answer can take more than 1% of the wait time.
            assert re.match(r"Waiting for the identity check: \d+% of the wait time has passed\n", told)
            process.send_signal(signal.SIGINT)
            rest = b"".join([piece async for piece in process.stderr])
            assert rest.split()[-1:] == [b"Stopped."]
            assert b"Traceback" not in rest
            assert await process.wait() == 130
            assert [piece async for piece in process.stdout] == []


@pytest.mark.check
@pytest.mark.anyio
async def test_a_wait_at_a_terminal_ends_with_only_the_result(waiting: Simulator, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    with anyio.fail_after(PATIENCE):
        async with await anyio.open_process(
            WAIT, env=environment(tmp_path) | {"TERM": "xterm"}, stderr=theirs
        ) as process:
            os.close(theirs)
            seen = b""
            while b"Waiting for the identity check" not in seen:
                seen += await anyio.to_thread.run_sync(os.read, ours, 4096)
            await waiting.finish_kyc("user-1")
            assert process.stdout is not None
            result = b"".join([piece async for piece in process.stdout])
            assert await process.wait() == 0
    os.close(ours)
    assert json.loads(result)["status"] == "approved"

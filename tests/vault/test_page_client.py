"""Test the server's side of a page against children that break the protocol."""

from __future__ import annotations

import os
import time
from typing import Any

import anyio
import pytest

from machines_mcp.redaction.environment import Environment
from machines_mcp.vault.events import MAX_LOOKS
from machines_mcp.vault.page_client import MAX_TRIES, show_card
from machines_mcp.vault.reply import Code, VaultReply, failed, reply_line
from machines_mcp.vault.request import PageOptions, VaultRequest
from tests.support.clock import advance_loop_clock
from tests.support.waiting import PATIENCE
from tests.vault.children import ChildLine, program, switchboard
from tests.vault.pages import PageEvents, verifier

pytestmark = pytest.mark.anyio

SHOWN = VaultReply(
    status="shown", code="shown", sink="page", brand="VISA", last4="0421", expiration_month=12, expiration_year=2031
)
UP = b'{"event":"listening","port":4711}\n'
TRY = b'{"event":"try"}\n'
WRONG = b'{"event":"wrong"}\n'
RIGHT = b'{"event":"right"}\n'
SHOW = b'{"event":"show"}\n'
REFUSE = b'{"event":"refuse"}\n'
LOOKED = b'{"event":"look"}\n'
PROVED: tuple[bytes | str, ...] = (UP, TRY, "hear()", RIGHT, "hear()")
GOOD = reply_line(SHOWN)
UNUSED = reply_line(failed("page.unused"))

_CHILD = """
import os, sys, time
sys.stdin.readline()
def say(line): os.write(1, line)
def hear(): return sys.stdin.readline()
"""


def _script(*steps: bytes | str) -> tuple[str, ...]:
    """Return a child that writes each bytes and runs each str. `hear()` waits for one answer."""
    lines = [f"say({step!r})" if isinstance(step, bytes) else step for step in steps]
    return program(_CHILD + "\n".join(lines))


@pytest.fixture
def request_for_page(request_to_closed_port: VaultRequest) -> VaultRequest:
    order = PageOptions(
        handle="h" * 22,
        asked_by="",
        environment=Environment.SANDBOX,
        details=(),
        expires_at=time.time() + PATIENCE,
        verifier=verifier(),
    )
    return request_to_closed_port.model_copy(update={"sink": "page", "page": order})


async def _final_reply(
    request: VaultRequest, notes: PageEvents, command: tuple[str, ...], deadline: float = PATIENCE
) -> VaultReply:
    with anyio.fail_after(PATIENCE + 5):
        reply = await show_card(request.model_copy(update={"deadline_seconds": deadline}), notes, command=command)
    assert notes.replies == [reply]
    return reply


async def _code(request: VaultRequest, *steps: bytes | str, notes: PageEvents | None = None) -> Code:
    reply = await _final_reply(request, notes or PageEvents(), _script(*steps))
    assert reply == failed(reply.code)
    return reply.code


async def test_a_complete_conversation_ends_in_its_reply(request_for_page: VaultRequest) -> None:
    notes = PageEvents(waits=[7, 0, 0], delay=4)
    asks = [
        step
        for event in (LOOKED, TRY, TRY, WRONG, TRY, LOOKED, RIGHT, SHOW)
        for step in (event, "heard.append(hear())")
    ]
    go, now = '{"go":true}', '{"wait":0}'
    expected = [go, '{"wait":7}', now, '{"wait":4}', now, go, now, go]
    command = _script(
        "heard = []",
        UP,
        *asks,
        f"sound = [line.strip() for line in heard] == {expected!r}",
        f"say({GOOD!r} if sound else b'')",
    )
    assert await _final_reply(request_for_page, notes, command) == SHOWN
    assert (notes.port, notes.tries, notes.wrongs, notes.asked) == (4711, 3, 1, 1)


async def test_the_reply_is_reported_before_the_child_exits(request_for_page: VaultRequest) -> None:
    async with switchboard() as board, anyio.create_task_group() as tasks:
        notes = PageEvents()
        talk = f"os.write(1, {UP!r}); sys.stdin.readline()"
        talk += "".join(f"; os.write(1, {line!r}); sys.stdin.readline()" for line in (TRY, RIGHT, SHOW))
        talk += f"; os.write(1, {GOOD!r})"
        rest = f"{talk}; time.sleep(600)"
        with anyio.fail_after(PATIENCE):
            tasks.start_soon(lambda: show_card(request_for_page, notes, command=board.reporting(rest)))
            child = await board.line()
            assert await notes.end() == SHOWN
            tasks.cancel_scope.cancel()
        with anyio.fail_after(PATIENCE):
            await child.closed()
        assert notes.replies == [SHOWN]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([], id="nothing"),
        pytest.param([b"garbage\n", UNUSED], id="garbage"),
        pytest.param([TRY, UNUSED], id="a try before there is a page"),
        pytest.param([UP, UP, UNUSED], id="listening twice"),
        pytest.param([UP, RIGHT, UNUSED], id="right without a try"),
        pytest.param([UP, WRONG, UNUSED], id="wrong without a try"),
        pytest.param([UP, TRY, "hear()", TRY, UNUSED], id="two tries at once"),
        pytest.param([*PROVED, RIGHT, UNUSED], id="right twice"),
        pytest.param([*PROVED, WRONG, UNUSED], id="wrong after right"),
        pytest.param([UP, SHOW, UNUSED], id="show without the passphrase"),
        pytest.param([UP, TRY, "hear()", SHOW, UNUSED], id="show during a try"),
        pytest.param([UP, TRY, "hear()", WRONG, "hear()", SHOW, UNUSED], id="show after a wrong one"),
        pytest.param([*PROVED, SHOW, "hear()", SHOW, UNUSED], id="show twice"),
        pytest.param([*PROVED, SHOW, "hear()", TRY, UNUSED], id="a try after show"),
        pytest.param([*PROVED, SHOW, "hear()", REFUSE, UNUSED], id="refuse after show"),
        pytest.param([*PROVED, SHOW, "hear()", LOOKED, UNUSED], id="a look after show"),
        pytest.param([LOOKED, UNUSED], id="a look before there is a page"),
        pytest.param([UP, REFUSE, UNUSED], id="refuse without the passphrase"),
        pytest.param([UP, TRY, "hear()", REFUSE, UNUSED], id="refuse during a try"),
        pytest.param([*PROVED, REFUSE, "hear()", SHOW, UNUSED], id="show after refuse"),
        pytest.param([*PROVED, REFUSE, "hear()", GOOD], id="shown after refuse"),
        pytest.param([UP, GOOD], id="shown and never asked"),
        pytest.param([*PROVED, GOOD], id="shown with the passphrase, and never asked"),
        pytest.param([UP.replace(b"4711", b"0"), UNUSED], id="no port"),
        pytest.param([UP.replace(b"4711", b"70000"), UNUSED], id="a port too high"),
        pytest.param([UP.replace(b"4711", b"4711.0"), UNUSED], id="a port with a point"),
        pytest.param([b'{"event":"listening"}\n', UNUSED], id="no port at all"),
        pytest.param([UP, b'{"event":"right","port":1}\n', "hear()", UNUSED], id="a port where none may be"),
        pytest.param([UP, b'{"event":"right","pan":"4"}\n', "hear()", UNUSED], id="a field more"),
        pytest.param([UP, b'{"event": "right"}\n', "hear()", UNUSED], id="another spelling"),
        pytest.param([UP, b'{"event":"shown"}\n', UNUSED], id="another event"),
        pytest.param([UP, UNUSED[:-1]], id="a reply without its end"),
        pytest.param([UP], id="no reply"),
        pytest.param([UP, b"9" * 9000], id="too much"),
        pytest.param([UP, "[say(b'9' * 4096) for _ in iter(int, 1)]"], id="no end"),
    ],
)
async def test_any_other_event_is_a_protocol_error(request_for_page: VaultRequest, steps: list[bytes | str]) -> None:
    assert await _code(request_for_page, *steps) == "vault.protocol"


async def test_a_shown_reply_after_a_refusal_is_a_protocol_error(request_for_page: VaultRequest) -> None:
    steps = *PROVED, SHOW, "hear()", GOOD
    assert await _code(request_for_page, *steps, notes=PageEvents(denied="page.frozen")) == "vault.protocol"


async def test_a_shown_reply_for_another_card_is_a_protocol_error(request_for_page: VaultRequest) -> None:
    steps = *PROVED, SHOW, "hear()", GOOD.replace(b"0421", b"0422")
    assert await _code(request_for_page, *steps) == "vault.protocol"


async def test_a_delayed_page_that_checks_is_a_protocol_error(request_for_page: VaultRequest) -> None:
    notes = PageEvents(waits=[1])
    assert await _code(request_for_page, UP, TRY, "hear()", RIGHT, UNUSED, notes=notes) == "vault.protocol"
    assert (notes.tries, notes.wrongs, notes.asked) == (1, 0, 0)


async def test_a_page_that_guesses_endlessly_is_stopped(request_for_page: VaultRequest) -> None:
    notes = PageEvents()
    loop = f"for _ in range({MAX_TRIES + 5}): say({TRY!r}); hear(); say({WRONG!r}); hear()"
    assert await _code(request_for_page, UP, loop, UNUSED, notes=notes) == "vault.protocol"
    assert (notes.tries, notes.wrongs) == (MAX_TRIES, MAX_TRIES)


async def test_a_page_that_looks_endlessly_is_stopped(request_for_page: VaultRequest) -> None:
    notes = PageEvents()
    loop = f"for _ in range({MAX_LOOKS + 5}): say({LOOKED!r}); hear()"
    assert await _code(request_for_page, UP, loop, UNUSED, notes=notes) == "vault.protocol"
    assert notes.looks == MAX_LOOKS


async def test_a_try_that_can_not_be_counted_is_denied(request_for_page: VaultRequest) -> None:
    denied = '{"denied":"page.unavailable"}'
    steps = UP, TRY, f"say({UNUSED!r} if hear().strip() == {denied!r} else b'')"
    assert await _code(request_for_page, *steps, notes=PageEvents(uncounted=True)) == "page.unused"


async def test_output_after_a_reply_does_not_change_it(request_for_page: VaultRequest) -> None:
    assert await _code(request_for_page, UP, UNUSED, b"more\n") == "page.unused"


async def test_a_command_that_cannot_start_fails_the_page(request_for_page: VaultRequest) -> None:
    assert await _final_reply(request_for_page, PageEvents(), ("/no/such/python",)) == failed("internal")


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param("time.sleep(600)", id="silent"),
        pytest.param(f"os.write(1, {UP!r}); time.sleep(600)", id="a page that is stuck"),
        pytest.param(f"os.write(1, {UP!r}); os.kill(os.getpid(), 19)", id="a page that is stopped"),
        pytest.param(f"os.write(1, {UP + TRY!r}); time.sleep(600)", id="a fetch that is stuck"),
    ],
)
async def test_a_page_is_killed_and_reaped_at_the_deadline(request_for_page: VaultRequest, rest: str) -> None:
    async with switchboard() as board:
        found: list[tuple[ChildLine, dict[str, Any]]] = []

        async def reach_the_deadline() -> None:
            child = await board.line()
            found.append((child, await child.report()))
            advance_loop_clock(PATIENCE / 2)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reach_the_deadline)
            command = board.reporting(rest)
            assert await _final_reply(request_for_page, PageEvents(), command, deadline=PATIENCE / 2) == failed(
                "deadline"
            )
        ((child, report),) = found
        with anyio.fail_after(PATIENCE):
            await child.closed()
        with pytest.raises(ProcessLookupError):
            os.kill(report["pid"], 0)


async def test_cancellation_kills_the_child_and_reports_it(request_for_page: VaultRequest) -> None:
    async with switchboard() as board:
        notes = PageEvents()
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                command = board.reporting(f"os.write(1, {UP!r}); time.sleep(600)")
                tasks.start_soon(lambda: show_card(request_for_page, notes, command=command))
                child = await board.line()
                await notes.open.wait()
                tasks.cancel_scope.cancel()
            await child.closed()
        assert notes.replies == [failed("deadline")]

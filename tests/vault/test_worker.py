from __future__ import annotations

import json
import subprocess
import sys

import anyio
import pytest

from machines_mcp.vault.client import COMMAND
from machines_mcp.vault.reply import failed, reply_line
from machines_mcp.vault.request import MAX_REQUEST_BYTES
from tests.support.waiting import PATIENCE
from tests.vault.children import switchboard

pytestmark = pytest.mark.anyio

REQUEST = {
    # Port 9 (discard) has no listener.
    "base_url": "http://127.0.0.1:9/partner/v1",
    "partner_key": "key-under-test",
    "user_id": "user-1",
    "card_id": "card-under-test",
    "last4": "0421",
    "sink": "none",
    "deadline_seconds": 20.0,
}
LINE = json.dumps(REQUEST).encode() + b"\n"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}\n", id="empty object"),
        pytest.param(b"garbage\n", id="garbage"),
        pytest.param(b'{"user_id":"u"}', id="no newline"),
        pytest.param(LINE.rjust(MAX_REQUEST_BYTES + 1), id="too long"),
    ],
)
def test_an_invalid_request_gets_one_fixed_reply(line: bytes) -> None:
    done = subprocess.run(COMMAND, input=line, capture_output=True, timeout=PATIENCE, check=False, env={})
    assert (done.stdout, done.stderr, done.returncode) == (reply_line(failed("internal")), b"", 0)


async def test_a_request_of_the_maximum_length_is_served() -> None:
    async with await anyio.open_process(COMMAND) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        with anyio.fail_after(PATIENCE):
            await child.stdin.send(LINE.rjust(MAX_REQUEST_BYTES))
            assert await child.stdout.receive() == reply_line(failed("partner.unavailable"))


async def test_the_child_exits_at_its_own_deadline_without_a_reply() -> None:
    async with switchboard() as board, await anyio.open_process(COMMAND) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        slow = REQUEST | {"base_url": f"http://127.0.0.1:{board.port}/partner/v1", "deadline_seconds": 1.0}
        # A mere HTTP timeout would send a reply.
        with anyio.fail_after(PATIENCE):
            await child.stdin.send(json.dumps(slow).encode() + b"\n")
            with pytest.raises(anyio.EndOfStream):
                await child.stdout.receive()
            assert await child.wait() == 1


def test_the_child_loads_no_unneeded_libraries() -> None:
    source = (
        "import sys; from machines_mcp.vault import worker; worker.serve = lambda: None; "
        "from machines_mcp.vault.__main__ import main; main(); import httpx; "
        "heavy = {'mcp', 'rich', 'pygments', 'keyring', 'starlette', 'uvicorn', 'jinja2', 'joserfc'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = (sys.executable, "-I", "-c", source)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "[]\n"

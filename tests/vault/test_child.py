from __future__ import annotations

import subprocess
import sys

import pytest

from machines_mcp.vault.process import COMMAND
from machines_mcp.vault.request import MAX_REQUEST_BYTES, failed, reply_line
from tests.vault.children import PATIENCE


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}\n", id="empty object"),
        pytest.param(b"garbage\n", id="garbage"),
        pytest.param(b'{"user_id":"u"}', id="no newline"),
        pytest.param(b" " * MAX_REQUEST_BYTES + b"\n", id="too long"),
    ],
)
def test_a_request_that_is_none_ends_in_one_closed_reply(line: bytes) -> None:
    done = subprocess.run(COMMAND, input=line, capture_output=True, timeout=PATIENCE, check=False, env={})
    assert (done.stdout, done.stderr, done.returncode) == (reply_line(failed("internal")), b"", 0)


def test_the_child_loads_no_more_than_it_needs() -> None:
    source = (
        "import sys; from machines_mcp.vault import child; child.serve = lambda: None; "
        "from machines_mcp.vault.__main__ import main; main(); import httpx; "
        "print(sorted({'mcp', 'rich', 'pygments', 'keyring', 'starlette'} & set(sys.modules)))"
    )
    command = (sys.executable, "-I", "-c", source)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "[]\n"

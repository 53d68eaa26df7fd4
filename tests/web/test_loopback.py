"""Test the server of the local pages: its address, headers and signal handlers."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import anyio
import httpx
import pytest

from machines_mcp.web.asgi import Receive, Scope, Send, send_response
from machines_mcp.web.loopback import build_uvicorn, listen_on_loopback
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await send_response(send, 200, [(b"x-scheme", scope["scheme"].encode())], b"here")


def test_the_server_listens_only_on_loopback() -> None:
    with listen_on_loopback(4) as one, listen_on_loopback(4) as other:
        assert one.getsockname()[0] == "127.0.0.1"
        assert one.getsockname()[1] != other.getsockname()[1]
        # asyncio disables Nagle's algorithm only for sockets of this protocol.
        assert one.proto == socket.IPPROTO_TCP


def test_a_socket_that_fails_to_bind_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []

    class Taken(socket.socket):
        def bind(self, address: object) -> None:
            opened.append(self)
            raise OSError

    monkeypatch.setattr(socket, "socket", Taken)
    with pytest.raises(OSError):
        listen_on_loopback(4)
    assert [listener.fileno() for listener in opened] == [-1]


@pytest.mark.parametrize("handle_signals", [True, False])
async def test_responses_carry_no_server_header_and_ignore_proxy_headers(handle_signals: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    server = build_uvicorn(application, max_connections=4, handle_signals=handle_signals)
    with listen_on_loopback(4) as listener, anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks, httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            tasks.start_soon(server.serve, [listener])
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            # Proxy headers have no effect.
            answer = await http.get(url, headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"})
            assert (answer.text, answer.headers["x-scheme"]) == ("here", "http")
            assert set(answer.headers) == {"content-length", "x-scheme"}
            assert (signal.getsignal(signal.SIGTERM) == before) is not handle_signals
            server.should_exit = True
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.check
def test_uvicorn_is_imported_on_first_use() -> None:
    program = (
        "import sys; import machines_mcp.web.asgi, machines_mcp.web.browser_security, machines_mcp.web.form,"
        " machines_mcp.web.loopback; print({'uvicorn', 'starlette', 'h11'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

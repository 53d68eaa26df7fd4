"""Test the page's child process from outside: what it exposes, and what ends it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from machines_mcp.vault.client import COMMAND
from machines_mcp.vault.request import request_line
from tests.support.vault_simulator import OpenedCard, Simulator
from tests.support.waiting import PATIENCE
from tests.vault.children import dies_with, program
from tests.vault.pages import PASSPHRASE, page_request

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@contextmanager
def _child(api: Simulator, card: OpenedCard, **changes: Any) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a child that listens, and yield it and its port. Only the test answers its questions."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": {}}
    with subprocess.Popen(COMMAND, **pipes) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(request_line(page_request(api.base_url, api.partner_key, card, **changes)))
            child.stdin.flush()
            yield child, json.loads(child.stdout.readline())["port"]
        finally:
            child.kill()


def _exit_and_outputs(child: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    """Return its exit code and the rest of its two outputs."""
    assert child.stdout is not None
    assert child.stderr is not None
    return child.wait(PATIENCE), child.stdout.read(), child.stderr.read()


def test_the_child_prints_only_its_port_and_reply(api: Simulator, card: OpenedCard) -> None:
    with _child(api, card, deadline_seconds=4.0) as (child, port):
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 404
        code, said, errors = _exit_and_outputs(child)
    assert (code, json.loads(said)["code"], errors) == (0, "page.unused", b"")


def test_the_page_listens_only_on_loopback(api: Simulator, card: OpenedCard) -> None:
    with _child(api, card) as (_, port):
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
        assert f"0100007F:{port:04X}" in listening
        assert f"00000000:{port:04X}" not in listening


@pytest.mark.parametrize("last_words", [b"", b"more\n", b'{"go":true}\n'], ids=["end of file", "more", "unasked"])
def test_the_child_exits_with_its_parent_or_on_an_unasked_answer(
    api: Simulator, card: OpenedCard, last_words: bytes
) -> None:
    with _child(api, card) as (child, _):
        assert child.stdin is not None
        if last_words:
            child.stdin.write(last_words)
            child.stdin.flush()
        else:
            child.stdin.close()
        assert _exit_and_outputs(child) == (1, b"", b"")


def test_answers_that_arrive_together_are_each_read(api: Simulator, card: OpenedCard) -> None:
    with _child(api, card) as (child, port), ThreadPoolExecutor() as threads:
        assert child.stdin is not None
        assert child.stdout is not None
        url = f"http://127.0.0.1:{port}/the-handle-of-this-page-1"
        loads = [threads.submit(httpx.get, url, trust_env=False, timeout=PATIENCE) for _ in range(3)]
        assert [child.stdout.readline() for _ in loads] == [b'{"event":"look"}\n'] * 3
        # As one write, so that one read returns all of them, or a part of the last.
        child.stdin.write(b'{"go":true}\n' * 3)
        child.stdin.flush()
        assert [load.result(PATIENCE).status_code for load in loads] == [200] * 3


def test_a_silent_server_prevents_the_reveal(api: Simulator, card: OpenedCard) -> None:
    with _child(api, card, deadline_seconds=5.0) as (child, port):
        url = f"http://127.0.0.1:{port}/the-handle-of-this-page-1"
        with httpx.Client(trust_env=False, timeout=PATIENCE) as http:
            token = re.findall('name="token" value="([^"]+)"', http.get(url).text)[0]
            form = {"token": token, "decision": "show", "passphrase": PASSPHRASE}
            with suppress(httpx.TransportError):
                answer = http.post(f"{url}/decide", data=form, headers={"Origin": f"http://127.0.0.1:{port}"})
                assert answer.status_code == 500
        code, said, errors = _exit_and_outputs(child)
    assert (code, errors) == (0, b"")
    assert said.splitlines()[:2] == [b'{"event":"look"}', b'{"event":"try"}']
    assert card.number.encode() not in said


@linux_only
def test_a_stopped_page_dies_with_its_server(api: Simulator, card: OpenedCard) -> None:
    server = (
        "import os, subprocess, sys\n"
        # In its own session, like the server's child. Otherwise the system itself would end a stopped orphan.
        f"pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={{}}, start_new_session=True)\n"
        f"child = subprocess.Popen({COMMAND!r}, **pipes)\n"
        "child.stdin.write(sys.stdin.buffer.readline()); child.stdin.flush(); child.stdout.readline()\n"
        "os.kill(child.pid, 19); os.write(1, b'%d' % child.pid); sys.stdin.buffer.readline()"
    )
    with subprocess.Popen(program(server), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(request_line(page_request(api.base_url, api.partner_key, card)))
        parent.stdin.flush()
        assert dies_with(parent, int(os.read(parent.stdout.fileno(), 20)))


@linux_only
def test_the_child_has_no_environment_core_file_or_open_output(api: Simulator, card: OpenedCard) -> None:
    with _child(api, card) as (child, _):
        proc = Path(f"/proc/{child.pid}")
        assert proc.joinpath("cmdline").read_bytes().split(b"\0")[:-1] == [part.encode() for part in COMMAND]
        limits = proc.joinpath("limits").read_text("ascii")
        (core,) = [line.split()[4:6] for line in limits.splitlines() if "core file" in line]
        assert core == ["0", "0"]
        # Not dumpable: the system shows both only to root.
        try:
            assert proc.joinpath("environ").read_bytes() == b""
            assert [os.readlink(proc / "fd" / str(number)) for number in (1, 2)] == [os.devnull] * 2
        except PermissionError:
            pass

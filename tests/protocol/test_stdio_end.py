"""How the server ends: by end of input, by client exit or by a signal, and the responses it still sends."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from machines_mcp.protocol import stdio
from machines_mcp.protocol.jsonrpc import OutgoingLines
from machines_mcp.protocol.stdio import LineReader, LineWriter
from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.server.stdio import STOP_SECONDS
from tests.support.clock import advance_loop_clock
from tests.support.memory_pipe import MemoryPipe
from tests.support.server_process import (
    ODD_SERVER,
    Era,
    answered,
    call,
    greeting,
    lines,
    request,
    run,
    serving,
    started,
)
from tests.support.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.anyio

OLD: Era = "2025-11-25"
END_SECONDS = 6.0
# The server's own time limits exceed the test's, so only the awaited event ends it.
LIMITS = "600"
# A pipe is full with a little less than its 64 KB, if the next line does not fit.
FULL = 32 * 1024

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="pipes on the event loop are a POSIX promise")


def _script(folder: Path, data: bytes) -> Path:
    path = folder / "calls.jsonl"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("era", "last", "into_a_file"),
    [("2025-11-25", b"", False), ("2026-07-28", b"\n", True)],
    ids=["2025-11-25 to a pipe", "2026-07-28 to a file"],
)
def test_a_file_of_calls_is_answered_to_its_last_line(tmp_path: Path, era: Era, last: bytes, into_a_file: bool) -> None:
    calls = [call(era, number, "status") for number in range(20)]
    data = lines(*greeting(era), *calls, request(era, "list", "tools/list")).rstrip(b"\n") + last
    target = tmp_path / "answers.jsonl"
    with _script(tmp_path, data).open("rb") as script, target.open("wb") as output:
        stdout = output.fileno() if into_a_file else subprocess.PIPE
        done = run(tmp_path / "state", script.fileno(), stdout=stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    found = answered(target.read_bytes() if into_a_file else done.stdout)
    assert found.keys() - {"hello"} == {*range(20), "list"}
    assert all("result" in message for message in found.values())


def test_lines_without_a_response_do_not_delay_the_end(tmp_path: Path) -> None:
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 0}}
    data = lines(
        *greeting(OLD),
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
        b'{"jsonrpc":"2.0","result":{}}',
        call(OLD, 0, "sleep", {"seconds": 600}),
        cancel,
        call(OLD, 1, "status"),
    )
    with _script(tmp_path, data).open("rb") as script:
        done = run(
            tmp_path / "state", script.fileno(), command=ODD_SERVER, ODD_STOP_SECONDS=LIMITS, ODD_DRAIN_SECONDS=LIMITS
        )
    assert done.returncode == 0
    assert {json.loads(line)["id"] for line in done.stdout.splitlines()} == {"hello", None, 1}


def test_cancelling_an_unknown_request_affects_no_other_response(tmp_path: Path) -> None:
    nobody = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "nobody"}}
    sent = lines(*greeting(OLD), call(OLD, 1, "sleep", {"seconds": 0.5}), nobody, nobody)
    done = run(tmp_path / "state", sent, command=ODD_SERVER, ODD_STOP_SECONDS=LIMITS, ODD_DRAIN_SECONDS=LIMITS)
    assert done.returncode == 0
    assert "result" in answered(done.stdout)[1]


def test_a_slow_reader_of_an_ended_server_loses_nothing(tmp_path: Path) -> None:
    # The pipe holds 64 kB. The server must deliver the rest before it exits.
    sizes = [9000] * 20 + [120_000] * 4
    calls = (call(OLD, number, "write", {"characters": size}) for number, size in enumerate(sizes))
    data = lines(*greeting(OLD), *calls)
    with (
        _script(tmp_path, data).open("rb") as script,
        started(tmp_path, stdin=script.fileno(), command=ODD_SERVER, ODD_STOP_SECONDS="0.2") as served,
    ):
        assert served.stdout is not None
        output = b""
        while chunk := os.read(served.stdout.fileno(), 4096):
            output += chunk
            time.sleep(0.003)
        assert served.wait(PATIENCE) == 0
    assert answered(output).keys() == {"hello", *range(24)}


def test_empty_input_ends_the_server_quietly(tmp_path: Path) -> None:
    done = run(tmp_path / "state", subprocess.DEVNULL)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_a_client_that_hangs_up_gets_responses_that_are_nearly_done(tmp_path: Path) -> None:
    async with serving(tmp_path, OLD, command=ODD_SERVER, ODD_STOP_SECONDS=LIMITS, ODD_DRAIN_SECONDS=LIMITS) as served:
        await served.lives()
        await served.send(call(OLD, "late", "sleep", {"seconds": 0.5}))
        await served.hang_up()
        assert (await served.message())["id"] == "late"
        assert await served.ended() == 0


def test_shutdown_limits_are_within_the_documented_bound() -> None:
    assert STOP_SECONDS <= END_SECONDS - 0.5
    assert stdio.PIPE_DRAIN_SECONDS < STOP_SECONDS


async def test_a_call_that_hangs_after_the_last_line_is_abandoned() -> None:
    class Nowhere(MemoryPipe):
        async def read(self) -> bytes:
            return b""

        def write(self, data: bytes) -> None:
            pass

    def received(message: dict[str, Any]) -> None:
        events.append("received")

    events: list[str] = []
    writer = LineWriter(OutgoingLines(OutputFilter()), Nowhere())
    reader = LineReader(Nowhere(), writer, 3600, lambda: events.append("left"))

    async def read_to_the_end() -> None:
        await reader.run(received)
        await reader.drain(anyio.sleep_forever())
        events.append("ended")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_to_the_end)
        await anyio.wait_all_tasks_blocked()
        assert events == []
        advance_loop_clock(3600)
        with anyio.fail_after(PATIENCE):
            while "ended" not in events:
                await anyio.lowlevel.checkpoint()
    assert events == ["left", "ended"]


HANGING: dict[str, list[dict[str, Any]]] = {
    "calls": [call(OLD, tool, tool, {"seconds": 600}) for tool in ("sleep", "hold")],
    "answers that nobody reads": [call(OLD, number, "write", {"characters": 100_000}) for number in range(5)],
}


@posix_only
@pytest.mark.parametrize("calls", HANGING.values(), ids=HANGING.keys())
async def test_no_call_keeps_a_server_alive_after_its_client_left(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    async with serving(tmp_path, OLD, command=ODD_SERVER, ODD_STOP_SECONDS="1") as served:
        await served.lives()
        await served.send(*calls)
        await served.hang_up()
        assert await served.ended() == 0


@posix_only
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_a_signal_ends_the_server_during_any_hanging_call(tmp_path: Path, name: str) -> None:
    async with serving(tmp_path, OLD, command=ODD_SERVER, ODD_STOP_SECONDS="0.5") as served:
        await served.send(call(OLD, "never", "hold", {"seconds": 600}))
        await served.lives()
        served.process.send_signal(getattr(signal, name))
        assert await served.ended() == 0


@posix_only
def test_an_idle_terminal_does_not_delay_the_end(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    try:
        with started(
            tmp_path, stdin=theirs, command=ODD_SERVER, ODD_STOP_SECONDS=LIMITS, ODD_DRAIN_SECONDS=LIMITS
        ) as served:
            assert served.stdout is not None
            os.write(ours, lines(*greeting(OLD), call(OLD, 1, "status")))
            assert [json.loads(served.stdout.readline())["id"] for _ in range(2)] == ["hello", 1]
            served.terminate()
            assert served.wait(PATIENCE) == 0
    finally:
        os.close(ours)
        os.close(theirs)


@posix_only
def test_a_server_follows_a_dead_client_without_output(tmp_path: Path) -> None:
    # Another process keeps the input open, as happens when a client is killed.
    with started(tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, command=ODD_SERVER) as served:
        assert served.stdin is not None
        assert served.stdout is not None
        assert served.stderr is not None
        served.stdin.write(lines(*greeting(OLD)))
        served.stdin.flush()
        assert served.stdout.readline()
        served.stdin.write(lines(call(OLD, 1, "write", {"characters": 120_000})))
        served.stdin.flush()
        served.stdout.close()
        assert served.wait(PATIENCE) == 0
        assert served.stderr.read() == b""


@posix_only
def test_a_client_that_leaves_without_reading_ends_the_server(tmp_path: Path) -> None:
    data = bytearray(lines(*greeting(OLD), *(request(OLD, number, "tools/list") for number in range(20_000))))
    with started(tmp_path, stdin=subprocess.PIPE, command=ODD_SERVER, ODD_STOP_SECONDS="0.2") as served:
        assert served.stdin is not None
        os.set_blocking(served.stdin.fileno(), False)
        wait_until(lambda: _fill(served, data) and _unread(served) >= FULL)
        # It reads nothing more, because its responses can't be written. It must notice the end all the same.
        served.stdin.close()
        assert served.wait(PATIENCE) == 0


def _fill(served: subprocess.Popen[bytes], data: bytearray) -> bool:
    """Write as much as the server takes. Return whether it takes no more."""
    assert served.stdin is not None
    try:
        while data:
            del data[: os.write(served.stdin.fileno(), data)]
    except BlockingIOError:
        return True
    return False


def _unread(served: subprocess.Popen[bytes]) -> int:
    """Return how many bytes of output wait to be read."""
    assert served.stdout is not None
    return int.from_bytes(fcntl.ioctl(served.stdout.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)

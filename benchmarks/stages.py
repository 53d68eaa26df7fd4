"""The command: `python -m benchmarks.stages [--seconds N] [--record]`. It says which stage of a call takes what.

The server's parts run in this process, without pipes. While calls are made one after another, a timer looks every
millisecond of processor time at the innermost function of a stage. Nothing is changed or slowed down by that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from benchmarks.measure import Samples
from benchmarks.record import RUNS, busy, keep
from benchmarks.report import where
from benchmarks.wire import ERAS, Era
from machines_mcp.protocol.eras import serve_client
from machines_mcp.protocol.jsonrpc import OutgoingLines
from machines_mcp.protocol.pipe_dispatcher import PipeDispatcher
from machines_mcp.protocol.stdio import LineReader, LineWriter
from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings

EVERY = 0.001
WARM = 200

STAGES: dict[str, tuple[str, ...]] = {
    "read the line, give it a task": ("protocol/stdio", "protocol/pipe_dispatcher", "protocol/exchange", "anyio/"),
    "check the request by the SDK's models": ("protocol/eras", "protocol/tool_requests", "mcp/", "mcp_types/"),
    "check the arguments": (
        *("protocol/arguments", "protocol/approval_arguments", "protocol/coercion", "protocol/tool_input"),
        *("protocol/tool_call", "redaction/characters", "redaction/placeholders"),
    ),
    "policy, limits and audit": ("protocol/dispatcher", "protocol/execution", "permissions/", "storage/"),
    "the tool itself": ("tools/",),
    "build the result and write it": (
        *("protocol/responses", "protocol/result_size", "protocol/written", "protocol/tool", "protocol/errors"),
        *("redaction/verbatim", "redaction/foreign_text", "redaction/identity_echo"),
    ),
    "filter the line": ("protocol/jsonrpc", "redaction/"),
}
OTHER = "the event loop, and the rest"


class Sampler:
    """Counts by stage where the processor's time goes."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Sampler:
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)

    def _look(self, number: int, frame: FrameType | None) -> None:
        self.counts[_stage(frame)] += 1


def _stage(frame: FrameType | None) -> str:
    """Return the stage of the innermost function that belongs to one."""
    while frame is not None:
        file = frame.f_code.co_filename
        place = (
            file.rpartition("/machines_mcp/")[2] if "/machines_mcp/" in file else file.rpartition("/site-packages/")[2]
        )
        for stage, places in STAGES.items():
            if place.startswith(places):
                return stage
        frame = frame.f_back
    return OTHER


class Calls:
    """A client that calls `status` again once it has the response, for so many seconds."""

    def __init__(self, era: Era, seconds: float, sampler: Sampler) -> None:
        self._era, self._seconds, self._sampler = era, seconds, sampler
        self._answered = asyncio.Event()
        self._answered.set()
        self._sent = 0
        self._begun = self._last = 0.0
        self.taken: list[float] = []
        self.free = True

    async def run(self, feed: Callable[[bytes], None]) -> None:
        while data := await self._read():
            feed(data)

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    async def _read(self) -> bytes:
        await self._answered.wait()
        self._answered.clear()
        now = time.perf_counter()
        if self._sent == WARM:
            self._sampler.__enter__()
            self._begun = now
        if self._begun and now - self._begun > self._seconds:
            self._sampler.__exit__()
            return b""
        self._sent += 1
        self._last = now
        return self._line()

    def write(self, data: bytes) -> None:
        if self._begun:
            self.taken.append((time.perf_counter() - self._last) * 1e6)
        self._answered.set()

    async def ready(self) -> None:
        pass

    def _line(self) -> bytes:
        params: dict[str, Any] = {"name": "status", "arguments": {}}
        if self._era > "2026":
            prefix = "io.modelcontextprotocol/"
            who = {"name": "benchmarks", "version": "1"}
            params["_meta"] = {f"{prefix}protocolVersion": self._era, f"{prefix}clientCapabilities": {}}
            params["_meta"][f"{prefix}clientInfo"] = who
        elif self._sent == 1:
            hello = {"protocolVersion": self._era, "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}}
            return json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}).encode() + b"\n"
        message = {"jsonrpc": "2.0", "id": self._sent, "method": "tools/call", "params": params}
        return json.dumps(message).encode() + b"\n"


async def measured(era: Era, seconds: float) -> tuple[float, dict[str, float]]:
    """Return the median microseconds of a call, and its parts by stage."""
    sampler = Sampler()
    calls = Calls(era, seconds, sampler)
    with tempfile.TemporaryDirectory(prefix="machines-stages-") as folder:
        settings = read_settings({"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": folder})
        async with opened(settings) as app:
            writer = LineWriter(OutgoingLines(app.output_filter), calls)
            reader = LineReader(calls, writer, 5.0, lambda: None)
            await serve_client(app.server(), PipeDispatcher(reader, writer))
    median, total = Samples([calls.taken]).quantile(0.5), sampler.counts.total()
    return median, {stage: sampler.counts[stage] / total * median for stage in (*STAGES, OTHER)}


def as_table(figures: dict[str, Any]) -> str:
    """Format as Markdown: a row for each stage, a column for each protocol revision."""
    eras: dict[str, Any] = figures["eras"]
    lines = [_row("stage, microseconds", {era: era for era in eras}), _row("---", dict.fromkeys(eras, "---:"))]
    lines += [_row(stage, {era: f"{eras[era]['stages'][stage]:.0f}" for era in eras}) for stage in (*STAGES, OTHER)]
    return "\n".join([*lines, _row("**a call**", {era: f"**{eras[era]['call']:.0f}**" for era in eras})])


def _row(name: str, cells: Mapping[str, str]) -> str:
    return f"| {name} | {' | '.join(cells.values())} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long, for each protocol revision (10)")
    parser.add_argument("--record", action="store_true", help="save the figures for docs/benchmarks.md")
    options = parser.parse_args()
    load, eras = busy(), {}
    for era in ERAS:
        call, stages = asyncio.run(measured(era, options.seconds))
        eras[era] = {"call": call, "stages": stages}
    figures = {"eras": eras, "load": load, "seconds": options.seconds}
    print(f"{where()}\n\n{as_table(figures)}")
    if options.record:
        keep(RUNS, "stages", f"python -m benchmarks.stages --seconds {options.seconds:g}", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())

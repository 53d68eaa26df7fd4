"""`python -m benchmarks.soak --minutes 20 --rate 50 --faults 0.02`: run a server under load for a long time.

One server and one sandbox take a constant rate of calls from users who come and go. A share of the requests to the
sandbox fail, in each way that it can simulate. The run records memory, response times and errors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks.load import Load, Sample, Speaker
from benchmarks.plot import Line, Panel, draw, to_png
from benchmarks.report import where
from benchmarks.upstream import Sandbox
from benchmarks.wire import Command
from machines_mcp.testing import set_passphrase

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "soak.png"
BUCKETS = 60
MEGABYTE = 2**20
# Memory is measured from here on. Before, the server loads modules and fills its caches.
SETTLED_AFTER = 0.25
POLICY = 'version = 1\nenvironment = "sandbox"\nusers = "any"\n[cards]\nunbounded = true\n'
FAULTS: Sequence[dict[str, object]] = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503, "retryAfter": 1},
    {"kind": "status", "status": 429, "retryAfter": 1},
    {"kind": "status", "status": 401},
    {"kind": "delay", "delaySeconds": 1},
    {"kind": "drop"},
    {"kind": "after"},
    {"kind": "half_body"},
    {"kind": "html"},
    {"kind": "wrong_types"},
)


@dataclass(frozen=True)
class Figures:
    """The results of a soak: times in milliseconds, memory in MB (2**20 bytes), slope in MB an hour."""

    minutes: float
    rate: float
    faults: float
    seed: int
    armed: int = 0
    calls: int = 0
    p50: float = 0.0
    p99: float = 0.0
    errors: Mapping[str, int] = field(default_factory=dict)
    unknown_at_first: int = 0
    """Calls whose outcome was unknown at first."""
    settled: int = 0
    """Those of them that repeating with the id resolved, or left to a person."""
    memory_first: float = 0.0
    memory_last: float = 0.0
    slope: float = 0.0
    cpu: float = 0.0
    """The server's CPU time per call, in milliseconds."""


class Watch:
    """Samples a server's resident memory once a second."""

    def __init__(self, pid: int) -> None:
        self._statm = Path(f"/proc/{pid}/statm")
        self.samples: list[tuple[float, float]] = []

    async def run(self) -> None:
        """Sample until cancelled."""
        begun, page = time.monotonic(), os.sysconf("SC_PAGE_SIZE")
        while True:
            pages = int(self._statm.read_text(encoding="ascii").split()[1])
            self.samples.append((time.monotonic() - begun, pages * page / MEGABYTE))
            await asyncio.sleep(1)


class Breaker:
    """Makes a given number of sandbox requests per second fail, whichever come next."""

    def __init__(self, sandbox: Sandbox, per_second: float, seed: int) -> None:
        self._control = sandbox.control_url
        self._pause = 1 / per_second if per_second else 0.0
        self._rng = random.Random(seed)  # noqa: S311
        self.armed = 0

    async def run(self, seconds: float) -> None:
        """Arm faults for this long, then clear those that no request has hit."""
        until = time.monotonic() + seconds
        while self._pause:
            await asyncio.sleep(self._rng.expovariate(1 / self._pause))
            if time.monotonic() >= until:
                break
            await asyncio.to_thread(self._order, "/faults", dict(self._rng.choice(FAULTS)) | {"path": "/"})
            self.armed += 1
        await asyncio.to_thread(self._order, "/faults/clear", {})

    def _order(self, path: str, fault: dict[str, object]) -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._control + path, json.dumps(fault).encode(), headers)  # noqa: S310 - loopback
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as reply:
            reply.read()


async def soak(minutes: float, rate: float, faults: float, seed: int) -> tuple[Figures, list[Sample], Watch]:
    """Run the soak and return its figures, samples and memory watch."""
    with tempfile.TemporaryDirectory(prefix="machines-soak-") as scratch, Sandbox() as sandbox:
        command = await _prepared(Path(scratch), sandbox)
        speaker = await Speaker.start(command, Path(scratch) / "stderr")
        load, watch = Load(speaker, seed), Watch(speaker.process.pid)
        breaker = Breaker(sandbox, rate * faults, seed)
        await load.prepare()
        before = _cpu_seconds(speaker.process.pid)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch.run())
            tasks.create_task(breaker.run(minutes * 60))
            await load.run(minutes * 60, rate)
            watching.cancel()
        spent = _cpu_seconds(speaker.process.pid) - before
        await speaker.close()
    about = Figures(
        minutes, rate, faults, seed, armed=breaker.armed, unknown_at_first=load.unknown_at_first, settled=load.settled
    )
    return _measured(about, load.samples, watch, spent), load.samples, watch


async def _prepared(scratch: Path, sandbox: Sandbox) -> Command:
    policy = scratch / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    policy.chmod(0o600)
    ours = {
        "MACHINES_ENV": "sandbox",
        "MACHINES_API_URL": sandbox.base_url,
        "MACHINES_PARTNER_KEY": sandbox.partner_key,
        "MACHINES_STATE_DIR": str(scratch / "state"),
        "MACHINES_POLICY": str(policy),
    }
    await set_passphrase(ours, "a passphrase that nobody types")
    plain = {"PATH": os.defpath, "HOME": str(scratch), "PYTHONPATH": str(ROOT)}
    return Command("ours", (sys.executable, "-m", "machines_mcp"), plain | ours)


def _measured(about: Figures, samples: Sequence[Sample], watch: Watch, spent: float) -> Figures:
    times = sorted(sample.milliseconds for sample in samples)
    end = about.minutes * 60
    settled = [sample for sample in watch.samples if SETTLED_AFTER * end <= sample[0] <= end]
    return replace(
        about,
        calls=len(samples),
        p50=quantile(times, 0.5),
        p99=quantile(times, 0.99),
        errors=dict(Counter(sample.code for sample in samples if sample.code != "ok").most_common()),
        memory_first=settled[0][1],
        memory_last=settled[-1][1],
        slope=slope(settled) * 3600,
        cpu=spent * 1000 / len(samples),
    )


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value at or below which `share` of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the least-squares slope of the points; 0 for fewer than two."""
    if len(points) < 2:
        return 0.0
    x0, y0 = (sum(values) / len(points) for values in zip(*points, strict=True))
    across = sum((x - x0) ** 2 for x, _ in points)
    return sum((x - x0) * (y - y0) for x, y in points) / across if across else 0.0


def panels(figures: Figures, samples: Sequence[Sample], watch: Watch) -> list[Panel]:
    """Return the charts of memory, response times and errors by minute."""
    length = figures.minutes * 60 / BUCKETS
    buckets: list[list[Sample]] = [[] for _ in range(BUCKETS)]
    for sample in samples:
        buckets[min(BUCKETS - 1, int(sample.at / length))].append(sample)
    minutes = [(number + 0.5) * length / 60 for number in range(BUCKETS)]
    times = [sorted(sample.milliseconds for sample in bucket) for bucket in buckets]
    memory = [(at / 60, size) for at, size in watch.samples if at <= figures.minutes * 60]
    common = [code for code, _ in Counter(figures.errors).most_common(5)]

    def over_time(share: float) -> list[tuple[float, float]]:
        return [(at, quantile(found, share)) for at, found in zip(minutes, times, strict=True) if found]

    def errors(code: str) -> list[tuple[float, float]]:
        count = [100 * sum(sample.code == code for sample in bucket) / max(len(bucket), 1) for bucket in buckets]
        return list(zip(minutes, count, strict=True))

    return [
        Panel("Resident memory, MB", [Line("memory", memory)]),
        Panel("Response time, ms", [Line("p50", over_time(0.5)), Line("p99", over_time(0.99))]),
        Panel("Errors, percent of the calls", [Line(code, errors(code)) for code in common]),
    ]


def told(figures: Figures) -> str:
    """Format the figures for a person."""
    errors = ", ".join(f"{code} {count}" for code, count in figures.errors.items()) or "none"
    return (
        f"{figures.calls} calls in {figures.minutes:g} minutes at {figures.rate:g} a second, {figures.armed} faults\n"
        f"p50 {figures.p50:.1f} ms, p99 {figures.p99:.1f} ms; {figures.cpu:.1f} ms of CPU per call\n"
        f"memory {figures.memory_first:.1f} MB to {figures.memory_last:.1f} MB, {figures.slope:+.2f} MB an hour\n"
        f"unknown at first {figures.unknown_at_first}, of which repeating the call resolved {figures.settled}\n"
        f"errors: {errors}"
    )


def main() -> int:
    """Run the soak, print the figures and draw them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20, help="duration (20)")
    parser.add_argument("--rate", type=float, default=50, help="calls a second (50)")
    parser.add_argument("--faults", type=float, default=0.02, help="share of the calls that hit a fault (0.02)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", type=Path, default=PICTURE, help="the PNG (needs Chromium)")
    parser.add_argument("--record", type=Path, help="save the figures to this file, for docs/reliability.md")
    given = parser.parse_args()
    figures, samples, watch = asyncio.run(soak(given.minutes, given.rate, given.faults, given.seed))
    print(f"{where()}\n{told(figures)}")
    title = f"{figures.calls:,} calls in {figures.minutes:g} minutes, {figures.armed:,} faults"
    to_png(draw(title, panels(figures, samples, watch), figures.minutes), given.picture)
    if given.record is not None:
        from benchmarks.record import keep

        command = (
            f"python -m benchmarks.soak --minutes {given.minutes:g} --rate {given.rate:g} --faults {given.faults:g}"
        )
        keep(given.record, "soak", f"{command} --seed {given.seed}", asdict(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A leak campaign: run servers with callers, two at a time, up to a number of tool calls, and scan all output."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState

from tests.leaks.browser import RecordingBrowser
from tests.leaks.caller import Listing, RandomApprover, RandomCaller, Tally
from tests.leaks.canaries import Canaries
from tests.leaks.scanner import Hit, Scanner
from tests.leaks.server import ERAS, POLICY, Era, RecordedServer, serving
from tests.leaks.upstream import SHOWN_WORD, Behavior, ProxyUpstream, upstream

CALLERS = 6
CALLS_PER_SERVER = 1500
# Concurrent servers. One waits while the other's process is busy.
AT_ONCE = 2

Scanned = tuple[dict[str, int], list[tuple[str, Hit]]]
"""Bytes by channel, and the hits with their channel."""


@dataclass(frozen=True)
class Mode:
    """How one server of a campaign is used."""

    era: Era
    dialog: bool = True
    pinned: bool = False
    faults: float = 0.08
    fault: str = ""
    echo: float = 0.0
    form: bool = False
    """Whether identity data is collected by the desk's form, bypassing the model."""

    def __str__(self) -> str:
        marks = ["dialog" if self.dialog else "no dialog"]
        marks += ["pinned"] * self.pinned + ["echo"] * (self.echo > 0) + ["form"] * self.form
        return f"{self.era} ({', '.join(marks)})"


MODES = (
    Mode(ERAS[0]),
    Mode(ERAS[1]),
    Mode(ERAS[0], dialog=False, form=True),
    Mode(ERAS[1], pinned=True),
    Mode(ERAS[0], echo=0.01),
    Mode(ERAS[1], echo=0.01),
    Mode(ERAS[1], dialog=False),
)


@dataclass
class LeakReport:
    """The counts and findings of a campaign."""

    seed: int
    tally: Tally = field(default_factory=Tally)
    servers: int = 0
    requests: int = 0
    reveals: int = 0
    at_the_desk: int = 0
    cards_seen: int = 0
    seconds: float = 0.0
    bytes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    placed: Counter[str] = field(default_factory=Counter)
    shown: int = 0
    masked: int = 0
    unexpected: list[str] = field(default_factory=list)
    hits: list[tuple[str, str, Hit]] = field(default_factory=list)
    """Mode, channel and hit."""

    def lines(self) -> Iterator[str]:
        """Format the report for a person."""
        tally = self.tally
        yield f"seed {self.seed}: {tally.calls} tool calls on {self.servers} servers in {self.seconds:.0f} s"
        yield f"  {tally.reached} of them reached upstream, in {self.requests} requests; {self.reveals} cards revealed"
        yield f"  {tally.others} other requests; {len(tally.outcomes)} distinct outcomes"
        yield f"  {tally.questions} dialogs, {self.at_the_desk} decisions at the desk, {self.cards_seen} cards seen"
        faults, placed = sum(self.faults.values()), sum(self.placed.values())
        yield f"  {faults} faults of {len(self.faults)} kinds; {placed} secrets placed"
        yield f"  foreign texts shown {self.shown} times; {self.masked} masked values"
        sizes = ", ".join(f"{name} {size:,}" for name, size in sorted(self.bytes.items()))
        yield f"  bytes scanned: {sizes}"
        for note in self.unexpected:
            yield f"  UNEXPECTED: {note}"
        grouped: dict[tuple[str, str, str], list[Hit]] = {}
        for _, channel, hit in self.hits:
            grouped.setdefault((channel, hit.canary.name, hit.spelling), []).append(hit)
        yield f"  {len(self.hits)} hits"
        for (channel, name, spelling), hits in sorted(grouped.items()):
            yield f"  LEAK in {channel}: {name} ({spelling}), {len(hits)} servers: ...{hits[0].around}..."


@dataclass(frozen=True)
class SimulatorAddress:
    """The address and partner key of a simulator."""

    url: str
    key: str


@contextmanager
def simulator() -> Iterator[SimulatorAddress]:
    """Run the project's simulator as a process until the block ends."""
    command = (sys.executable, "-m", "machines_mcp.sandbox", "--port", "0", "--leased")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            begin = json.loads(process.stdout.readline())
            yield SimulatorAddress(begin["base_url"], begin["partner_key"])
        finally:
            process.kill()


def scan(folder: Path, seed: int, targets: bytes, channels: str = "") -> Scanned:
    """Search everything a server left: output, state, trace, process details and requested addresses.

    Scans only channels whose names begin with `channels`. The server may still be running.
    """
    canaries = Canaries(seed)
    scanner = Scanner(canaries.all)
    sizes: Counter[str] = Counter()
    hits: list[tuple[str, Hit]] = []

    def look(channel: str, data: bytes, by: Scanner = scanner) -> None:
        if channel.startswith(channels):
            sizes[channel] += len(data)
            hits.extend((channel, hit) for hit in by.scan(data))

    for name in ("stdout", "stderr", "trace", "proc"):
        path = folder / name
        found = path.read_bytes() if path.exists() else b""
        if name == "stdout":
            # A dialog shows the name in the data that its client sent.
            unnamed = [canary for canary in canaries.all if canary is not canaries.identity["kyc name"]]
            look("stdout", b"\n".join(_QUESTION.findall(found)), Scanner(unnamed))
            found = _QUESTION.sub(b"", found)
        look(name, found)
    for path in sorted((folder / "state").rglob("*")):
        # A temporary file may have been renamed since it was listed.
        with suppress(FileNotFoundError):
            if path.is_file():
                look(f"state/{path.name}", path.name.encode() + b"\n" + path.read_bytes())
    look("request states", b"\n".join(_unsealed(folder)))
    desk = folder / "desk"
    # The person's own page repeats what they typed.
    others = [canary for canary in canaries.all if canary.origin not in ("typed", "identity")]
    look("desk", desk.read_bytes() if desk.exists() else b"", Scanner(others))
    # Ids and searches in an address are the caller's own words. Nothing else in it may be a secret of theirs.
    look("request targets", targets, Scanner([*canaries.own, *canaries.identity.values()]))
    return dict(sizes), hits


# A line with a question for a dialog, in either era.
_QUESTION = re.compile(rb'^.*?(?:"method":"elicitation/create"|"inputRequests":).*$', re.MULTILINE)


def _unsealed(folder: Path) -> Iterator[bytes]:
    """Yield the request states given to the client, opened with the server's key. The client can't open them but may
    pass them on."""
    path, said = folder / "stdout", folder / "state"
    keys = list(said.rglob("request-state.key"))
    for key in keys:
        codec = AESGCMRequestStateCodec([key.read_bytes()])
        for token in set(re.findall(rb'"requestState":"([^"]+)"', path.read_bytes())):
            with suppress(InvalidRequestState):
                yield codec.unseal(token.decode())


def _keep(server: RecordedServer, browser: RecordingBrowser, folder: Path) -> None:
    """Write the output, desk pages and process details so far next to the state."""
    (folder / "stdout").write_bytes(server.stdout)
    (folder / "desk").write_bytes(browser.pages)
    (folder / "proc").write_bytes(b"\n".join(sorted(server.seen_in_proc)))


@dataclass
class LeakCampaign:
    """A campaign. `modes` are used in turn; `only` and `tools` limit the callers to some steps and tools.

    `seek` is the beginning of a channel's name. With it, only those channels are searched, and a server stops as soon
    as a secret was found.
    """

    calls: int
    seed: int
    simulator: SimulatorAddress
    modes: Sequence[Mode] = MODES
    calls_per_server: int = CALLS_PER_SERVER
    only: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    python: str = sys.executable
    tree: Path | None = None
    keep: Path | None = None
    scanners: Executor | None = None
    seek: str = ""

    async def run(self) -> LeakReport:
        """Run the campaign and scan in a second process."""
        report = LeakReport(self.seed)
        begun = time.monotonic()
        with (
            tempfile.TemporaryDirectory(prefix="machines-leaks-") as place,
            ExitStack() as stack,
        ):
            scanners = self.scanners or stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
            pending: list[tuple[Mode, Future[Scanned]]] = []
            numbers = iter(range(-(-self.calls // self.calls_per_server)))

            async def work() -> None:
                for number in numbers:
                    mode = self.modes[number % len(self.modes)]
                    folder = (self.keep or Path(place)) / f"server-{number}"
                    calls = min(self.calls_per_server, self.calls - number * self.calls_per_server)
                    targets = await self._run_server(report, mode, number, folder, calls, scanners)
                    pending.append((mode, scanners.submit(scan, folder, self.seed, targets, self.seek)))

            async with asyncio.TaskGroup() as tasks:
                for _ in range(AT_ONCE):
                    tasks.create_task(work())
            report.seconds = time.monotonic() - begun
            for mode, scanned in pending:
                sizes, hits = await asyncio.wait_for(asyncio.wrap_future(scanned), 900)
                report.bytes.update(sizes)
                report.hits += [(str(mode), channel, hit) for channel, hit in hits]
        return report

    async def _run_server(
        self, report: LeakReport, mode: Mode, number: int, folder: Path, calls: int, scanners: Executor
    ) -> bytes:
        """Run one server. Its output stays in `folder`."""
        seed = self.seed * 100_003 + number
        mood = Behavior(faults=mode.faults, fault=mode.fault, echo=mode.echo)
        made = ProxyUpstream(Canaries(self.seed), self.simulator.url, self.simulator.key, seed, mood)
        tally = Tally()
        async with upstream(made) as up:
            person = RandomApprover(random.Random(seed), up.canaries, tally)  # noqa: S311
            browser = RecordingBrowser(up.canaries)
            pinned = f"user-{seed}" if mode.pinned else None
            async with serving(
                *(folder, mode.era, up),
                on_question=person,
                dialog=mode.dialog,
                pinned=pinned,
                policy=POLICY + "[identity]\nthrough_model = false\n" * mode.form,
                python=self.python,
                tree=self.tree,
            ) as server:

                async def leaks() -> bool:
                    _keep(server, browser, folder)
                    found = scanners.submit(scan, folder, self.seed, bytes(up.targets), self.seek)
                    return bool((await asyncio.wrap_future(found))[1])

                await self._call(server, up, browser, tally, seed, pinned, calls, leaks)
                if server.ended:
                    report.unexpected.append(f"server {number} ({mode}) exited by itself")
                # Kill half of the servers, so that unflushed data stays in place.
                await server.end(kill=number % 2 == 0)
                _keep(server, browser, folder)
                report.shown += server.stdout.count(SHOWN_WORD.encode())
                report.masked += server.stdout.count("••••".encode())
        report.servers += 1
        report.tally.add(tally)
        report.requests += sum(up.requests.values())
        report.reveals += up.reveals
        report.at_the_desk += browser.decided + browser.forms_sent
        report.cards_seen += browser.cards_seen
        report.faults += up.faults
        report.placed += up.placed
        return bytes(up.targets)

    async def _call(
        self,
        server: RecordedServer,
        up: ProxyUpstream,
        browser: RecordingBrowser,
        tally: Tally,
        seed: int,
        pinned: str | None,
        calls: int,
        leaks: Callable[[], Awaitable[bool]],
    ) -> None:
        offer = await Listing.of(server)
        found, look_at = False, 0

        def done() -> int:
            # Limited to some kinds of steps, a run may contain no tool calls.
            return tally.calls + (tally.others if self.only else 0)

        async def work(place: int) -> None:
            nonlocal found, look_at
            rng = random.Random(seed * 31 + place)  # noqa: S311
            user = pinned or f"user-{seed}-{place}"
            caller = RandomCaller(
                *(server, up, rng, offer, tally),
                user=user,
                browser=browser,
                pinned=pinned is not None,
                only=self.only,
                tools=self.tools,
            )
            await caller.journey()
            while done() < calls and not server.ended and not found:
                if self.seek and done() >= look_at:
                    # Growing intervals keep the total cost of scanning close to that of the last scan.
                    look_at = done() * 3 // 2
                    if await leaks():
                        found = True
                else:
                    await caller.step()

        async with asyncio.TaskGroup() as tasks:
            for place in range(1 if pinned else min(CALLERS, max(1, calls // 40))):
                tasks.create_task(work(place))

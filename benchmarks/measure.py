"""The measurements: the servers take turns within each round, so that a slow moment falls on both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks.wire import Command, Era, Wire, milliseconds_since

T = TypeVar("T")

TOOL = {"name": "status", "arguments": {}}
LISTS_A_ROUND = 30
CALLS_A_ROUND = 200
BURST_A_ROUND = 1000
IN_FLIGHT = 50


@dataclass
class Samples:
    """One quantity of one server: the values of each round."""

    rounds: list[list[float]] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """The value below or at which `share` of all values lie, rounds taken together."""
        ordered = sorted(value for values in self.rounds for value in values)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def medians(self) -> list[float]:
        """The median of each round."""
        return [statistics.median(values) for values in self.rounds]


@dataclass
class Figures:
    """What one server showed: times in milliseconds, bursts in calls a second, memory in MB (2**20 bytes)."""

    command: Command
    start: Samples = field(default_factory=Samples)
    lists: Samples = field(default_factory=Samples)
    calls: Samples = field(default_factory=Samples)
    bursts: Samples = field(default_factory=Samples)
    memory: float | None = None


def measure(commands: Sequence[Command], era: Era, runs: int) -> list[Figures]:
    """Everything about each of the servers, in `runs` rounds."""
    servers = [Figures(command) for command in commands]
    for counted, server in turns(servers, runs):
        elapsed = _start(server.command, era)
        if counted:
            server.start.rounds.append([elapsed])

    with ExitStack() as stack:
        wires = {server.command: stack.enter_context(Wire(server.command, era)) for server in servers}
        for wire in wires.values():
            wire.greet()
        for counted, server in turns(servers, runs):
            _exercise(wires[server.command], server if counted else Figures(server.command))
        for server in servers:
            server.memory = wires[server.command].peak_megabytes()
    return servers


def turns(takers: Sequence[T], rounds: int) -> Iterator[tuple[bool, T]]:
    """Each taker once a round, first come last in the next; the first round warms up and does not count."""
    for number in range(rounds + 1):
        for taker in takers if number % 2 else reversed(takers):
            yield number > 0, taker


def timed(action: Callable[[], object], times: int) -> list[float]:
    """Milliseconds that each of `times` runs of `action` took."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(milliseconds_since(start))
    return taken


def _start(command: Command, era: Era) -> float:
    """Milliseconds from the start of the process to the answer that lets the client go on."""
    start = time.perf_counter()
    with Wire(command, era) as wire:
        wire.greet()
        return milliseconds_since(start)


def _exercise(wire: Wire, into: Figures) -> None:
    """One round of the quantities that a running server shows."""
    into.lists.rounds.append(timed(lambda: wire.ask("tools/list", {}), LISTS_A_ROUND))
    into.calls.rounds.append(timed(lambda: wire.ask("tools/call", TOOL), CALLS_A_ROUND))
    into.bursts.rounds.append([_burst(wire)])


def _burst(wire: Wire) -> float:
    """Calls a second with `IN_FLIGHT` of them under way at any time."""
    start = time.perf_counter()
    for _ in range(IN_FLIGHT):
        wire.send("tools/call", TOOL)
    for answered in range(BURST_A_ROUND):
        wire.receive()
        if answered + IN_FLIGHT < BURST_A_ROUND:
            wire.send("tools/call", TOOL)
    return BURST_A_ROUND / (time.perf_counter() - start)

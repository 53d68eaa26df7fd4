"""Take the measurements. Servers take turns within each round, so that a slow moment affects all alike."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from benchmarks.wire import Command, Era, Wire, milliseconds_since

T = TypeVar("T")


@dataclass(frozen=True)
class Load:
    """Requests a round makes for each quantity, and how many requests of a burst are in flight."""

    lists: int = 30
    calls: int = 200
    burst: int = 1000
    in_flight: int = 50
    pings: int = 0
    """A burst of the protocol's own `ping`, which the newer revision removed."""


@dataclass
class Samples:
    """One quantity of one server: the values of each round."""

    rounds: list[list[float]] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Return the value at or below which `share` of all values lie, over all rounds."""
        ordered = sorted(value for values in self.rounds for value in values)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def medians(self) -> list[float]:
        """Return the median of each round."""
        return [statistics.median(values) for values in self.rounds]


@dataclass
class Figures:
    """The results of one server: times in milliseconds, bursts in calls a second, memory in MB (2**20 bytes)."""

    command: Command
    start: Samples = field(default_factory=Samples)
    first_calls: Samples = field(default_factory=Samples)
    """From the start of the process to the first result of a tool."""
    lists: Samples = field(default_factory=Samples)
    calls: Samples = field(default_factory=Samples)
    bursts: Samples = field(default_factory=Samples)
    pings: Samples = field(default_factory=Samples)
    tools: int = 0
    listed: int = 0
    """Bytes of the tools in `tools/list`, as compact JSON."""
    memory: float | None = None


def measure(commands: Sequence[Command], era: Era, runs: int, load: Load | None = None) -> list[Figures]:
    """Measure every quantity of each server, in `runs` rounds."""
    servers, load = [Figures(command) for command in commands], load or Load()
    for counted, server in turns(servers, runs):
        started, called = _start(server.command, era)
        if counted:
            server.start.rounds.append([started])
        if counted and called is not None:
            server.first_calls.rounds.append([called])

    with ExitStack() as stack:
        wires = {}
        # One at a time: some start so slowly that, started together, the last would time out.
        for server in servers:
            wires[server.command] = wire = stack.enter_context(Wire(server.command, era))
            wire.greet()
            _list(wire, server)
        for counted, server in turns(servers, runs):
            _exercise(wires[server.command], load, server if counted else Figures(server.command))
        for server in servers:
            server.memory = wires[server.command].peak_megabytes()
    return servers


def turns(takers: Sequence[T], rounds: int) -> Iterator[tuple[bool, T]]:
    """Yield each taker once a round, in alternating order. The first round is a warm-up and does not count."""
    for number in range(rounds + 1):
        for taker in takers if number % 2 else reversed(takers):
            yield number > 0, taker


def timed(action: Callable[[], object], times: int) -> list[float]:
    """Return the milliseconds that each of `times` runs of `action` took."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(milliseconds_since(start))
    return taken


def _start(command: Command, era: Era) -> tuple[float, float | None]:
    """Return the milliseconds from process start to the response that completes the handshake, and to a tool's result.

    The second is None if the server has no cheap tool.
    """
    start = time.perf_counter()
    with Wire(command, era) as wire:
        wire.greet()
        started = milliseconds_since(start)
        if command.call is None:
            return started, None
        wire.ask("tools/call", command.call)
        return started, milliseconds_since(start)


def _list(wire: Wire, into: Figures) -> None:
    tools = wire.ask("tools/list", {})["tools"]
    into.tools = len(tools)
    into.listed = len(json.dumps(tools, ensure_ascii=False, separators=(",", ":")).encode())


def _exercise(wire: Wire, load: Load, into: Figures) -> None:
    """Run one round of the quantities of a running server."""
    into.lists.rounds.append([wire.timed("tools/list", {}) for _ in range(load.lists)])
    if call := into.command.call:
        into.calls.rounds.append([wire.timed("tools/call", call) for _ in range(load.calls)])
        into.bursts.rounds.append([_burst(wire, "tools/call", call, load.burst, load.in_flight)])
    if load.pings:
        into.pings.rounds.append([_burst(wire, "ping", {}, load.pings, load.in_flight)])


def _burst(wire: Wire, method: str, params: Mapping[str, Any], size: int, in_flight: int) -> float:
    """Return the requests per second with `in_flight` of them in flight."""
    start = time.perf_counter()
    for _ in range(min(size, in_flight)):
        wire.send(method, params)
    for answered in range(size):
        wire.receive()
        if answered + in_flight < size:
            wire.send(method, params)
    return size / (time.perf_counter() - start)

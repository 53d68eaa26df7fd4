"""When to kill the servers of a state folder, and counts of the kills."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.crashes.operations import WEIGHTS, Kind
from tests.crashes.server_process import ServerProcess

WORKERS = 10
MAX_ANSWERS = 2 * WORKERS
# A server that does not reach its failpoint by then is killed anyway.
MISSED_AFTER = 4 * WORKERS
AT_START = 0.12
FRESH = 0.02

_REVEALS: dict[Kind, int] = {"page": 60, "card": 20}
_WITHDRAWALS: dict[Kind, int] = {"withdrawal": 60, "card": 20, "deposit": 4}
# Workloads that reach failpoints which the default one seldom reaches.
_TOWARDS: dict[str, dict[Kind, int]] = {
    "vault.started": {"reveal": 60, "card": 20},
    "reveal.taken": _REVEALS,
    "reveal.finished": _REVEALS,
    "quote.used": _WITHDRAWALS,
    "withdrawal.recorded": _WITHDRAWALS,
}
# Passed at most once or twice per server.
_MAX_PASSED = {"vault.started": 1, "reveal.taken": 1, "reveal.finished": 1}
_MAX_PASSED |= {"quote.used": 2, "withdrawal.recorded": 2, "reconciliation.begun": 2, "reconciliation.ended": 2}


@dataclass(frozen=True)
class Plan:
    """When servers are killed: at each of `points` in turn, or at a random moment with probability `chance`."""

    kills: int
    points: tuple[str, ...]
    chance: float = 0.5
    naive: bool = False
    journal: bool = True


@dataclass(frozen=True)
class PlannedKill:
    """The kill of one server: at the `nth` pass of a failpoint, or `delay` after a number of responses.

    Times are in seconds. `fresh` starts the server in a new interpreter.
    """

    point: str | None
    nth: int
    answers: int
    delay: float
    after_start: float | None
    fresh: bool

    @property
    def weights(self) -> Mapping[Kind, int]:
        """The relative frequency of operations until the kill."""
        return _TOWARDS.get(self.point or "", WEIGHTS)


def planned_kills(plan: Plan, rng: random.Random) -> Iterator[PlannedKill]:
    """Yield planned kills without end."""
    points = _in_turn(plan, rng)
    while True:
        point = next(points) if plan.points and rng.random() >= plan.chance else None
        nth = rng.randint(1, _MAX_PASSED.get(point or "", WORKERS))
        answers = MISSED_AFTER if point is not None else rng.randint(1, MAX_ANSWERS)
        at_start = point is None and rng.random() < AT_START
        after_start = rng.uniform(0, 0.3) if at_start else None
        yield PlannedKill(point, nth, answers, rng.uniform(0, 0.03), after_start, rng.random() < FRESH)


def _in_turn(plan: Plan, rng: random.Random) -> Iterator[str]:
    while True:
        yield from rng.sample(plan.points, len(plan.points))


@dataclass
class KillCounts:
    """Counts of the kills."""

    kills: int = 0
    at_points: Counter[str] = field(default_factory=Counter)
    """Kills at their planned failpoint."""
    phases: Counter[str] = field(default_factory=Counter)
    """All kills, by the last failpoint passed."""
    passed: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    """Calls without a response."""
    executing: int = 0
    """Consumed approvals without an outcome."""
    pending: int = 0
    """Journal entries without a response."""
    unexpected: list[str] = field(default_factory=list)

    def note(self, server: ServerProcess, meant_for: str | None) -> None:
        """Count a server that has ended."""
        if not server.killed_by_us and meant_for is None:
            self.unexpected.append(f"server {server.pid} exited by itself after {server.answers} responses")
        self.kills += 1
        self.under_way += server.unanswered
        self.at_points.update([meant_for] if meant_for is not None and not server.killed_by_us else [])
        self.phases[server.last_point() or "before any"] += 1
        self.passed += server.passed()

    def add(self, other: KillCounts) -> None:
        """Add other counts to these."""
        self.kills += other.kills
        self.at_points += other.at_points
        self.phases += other.phases
        self.passed += other.passed
        self.under_way += other.under_way
        self.executing += other.executing
        self.pending += other.pending
        self.unexpected += other.unexpected

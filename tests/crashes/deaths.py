"""How the servers of a segment are to die, and how they did."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.crashes.life import Life
from tests.crashes.wishes import WEIGHTS, Kind

WORKERS = 10
MOST_ANSWERS = 2 * WORKERS
# Who was meant for a point and has not come to it by then dies where it is.
MISSED_AFTER = 4 * WORKERS
AT_BIRTH = 0.12
FRESH = 0.02

_REVEALS: dict[Kind, int] = {"page": 60, "card": 20}
_WITHDRAWALS: dict[Kind, int] = {"withdrawal": 60, "card": 20, "deposit": 4}
# What brings a server to points that chance would seldom reach.
_TOWARDS: dict[str, dict[Kind, int]] = {
    "vault.started": {"reveal": 60, "card": 20},
    "reveal.taken": _REVEALS,
    "reveal.finished": _REVEALS,
    "quote.used": _WITHDRAWALS,
    "withdrawal.recorded": _WITHDRAWALS,
}
# Passed once or twice in a life, if at all.
_MOST_PASSED = {"vault.started": 1, "reveal.taken": 1, "reveal.finished": 1}
_MOST_PASSED |= {"quote.used": 2, "withdrawal.recorded": 2, "settling.begun": 2, "settling.ended": 2}


@dataclass(frozen=True)
class Plan:
    """How a segment's servers die. `points`: the labelled ones, in turn; where `chance` says so, at any moment."""

    kills: int
    points: tuple[str, ...]
    chance: float = 0.5
    naive: bool = False
    journal: bool = True


@dataclass(frozen=True)
class Death:
    """What one server is meant for: a point passed for the `nth` time, or so many answers and a moment more.

    Times are in seconds. `fresh`: it is begun by an interpreter of its own.
    """

    point: str | None
    nth: int
    answers: int
    delay: float
    after_birth: float | None
    fresh: bool

    @property
    def weights(self) -> Mapping[Kind, int]:
        """What users wish meanwhile."""
        return _TOWARDS.get(self.point or "", WEIGHTS)


def deaths(plan: Plan, rng: random.Random) -> Iterator[Death]:
    """One death after the other, without end."""
    points = _in_turn(plan, rng)
    while True:
        point = next(points) if plan.points and rng.random() >= plan.chance else None
        nth = rng.randint(1, _MOST_PASSED.get(point or "", WORKERS))
        answers = MISSED_AFTER if point is not None else rng.randint(1, MOST_ANSWERS)
        at_birth = point is None and rng.random() < AT_BIRTH
        after_birth = rng.uniform(0, 0.3) if at_birth else None
        yield Death(point, nth, answers, rng.uniform(0, 0.03), after_birth, rng.random() < FRESH)


def _in_turn(plan: Plan, rng: random.Random) -> Iterator[str]:
    while True:
        yield from rng.sample(plan.points, len(plan.points))


@dataclass
class Deaths:
    """How servers died."""

    kills: int = 0
    at_points: Counter[str] = field(default_factory=Counter)
    """Those that were meant for a point and died there."""
    phases: Counter[str] = field(default_factory=Counter)
    """All of them, by the point that was passed last."""
    passed: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    """Calls that had no answer."""
    executing: int = 0
    """Intents that had been taken and had no outcome."""
    pending: int = 0
    """Requests in the journal without an answer."""
    unexpected: list[str] = field(default_factory=list)

    def note(self, life: Life, meant_for: str | None) -> None:
        """Count a life that has ended."""
        if not life.killed_by_us and meant_for is None:
            self.unexpected.append(f"server {life.pid} ended by itself after {life.answers} answers")
        self.kills += 1
        self.under_way += life.unanswered
        self.at_points.update([meant_for] if meant_for is not None and not life.killed_by_us else [])
        self.phases[life.last_point() or "before any"] += 1
        self.passed += life.passed()

    def add(self, other: Deaths) -> None:
        """Both together."""
        self.kills += other.kills
        self.at_points += other.at_points
        self.phases += other.phases
        self.passed += other.passed
        self.under_way += other.under_way
        self.executing += other.executing
        self.pending += other.pending
        self.unexpected += other.unexpected

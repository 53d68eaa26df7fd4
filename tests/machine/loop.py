"""Virtual time and scheduling: an event loop that never waits, and a seeded schedule of its tasks.

Every place where the product waits for a disk or network is a schedule point. A task stops there until nothing else can
run. Then the schedule resumes one stopped task, chosen from the seed. If none is stopped, time advances to the next
timer. A process can be killed at any point.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import selectors
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

MAX_TURNS = 200_000


def seeded_random(seed: int) -> random.Random:
    """Return a random generator that repeats for the same seed."""
    return random.Random(seed)  # noqa: S311 - nothing is hidden by it


class ProcessKilled(BaseException):
    """The process is dead. Unwinds its tasks; nothing they do on the way has an effect."""


class Stuck(AssertionError):
    """No task can continue, or one continues forever."""


class Life:
    """One lifetime of a process. `end` is called when it is killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True

    def check(self) -> None:
        """Raise if the process is dead."""
        if not self.alive:
            raise ProcessKilled


living: ContextVar[Life | None] = ContextVar("living", default=None)
"""The process that this task belongs to."""


class Schedule:
    """Runs one task at a time. A step begins with `begin`, which sets the seed and the point of a kill."""

    def __init__(self) -> None:
        self._standing: list[tuple[str, Life, asyncio.Future[None]]] = []
        self._chance = seeded_random(0)
        self._kill_at: int | None = None
        self._kill: Callable[[Life], None] = lambda life: None
        self._stalls = 0.0
        self._turns = 0
        self.passed = 0
        """The number of points passed in this step."""
        self.trace: list[str] = []
        """Their places."""
        self.went = hashlib.sha256()
        """A digest of all points in all steps."""

    def begin(
        self, seed: int, kill: Callable[[Life], None], kill_at: int | None = None, *, stalls: float = 0.0
    ) -> None:
        """Begin a step. The process at its `kill_at`th point, counted from 1, is killed.

        `stalls`: the share of points where every task waits for the next timer instead.
        """
        self._chance = seeded_random(seed)
        self._kill, self._kill_at, self._stalls = kill, kill_at, stalls
        self.passed = self._turns = 0
        self.trace = []

    def mark(self, place: str, life: Life) -> None:
        """Pass a point where the process can be killed but no other task runs."""
        life.check()
        self.passed += 1
        self.trace.append(f"{life.name} {place}")
        self.went.update(self.trace[-1].encode())
        if self.passed == self._kill_at:
            self._kill(life)
            raise ProcessKilled

    def point(self, name: str) -> None:
        """Pass one of the product's failpoints."""
        life = living.get()
        if life is not None:
            self.mark(name, life)

    async def at(self, place: str, life: Life) -> None:
        """Stop at a point where other tasks may run first."""
        self.mark(place, life)
        standing = asyncio.get_running_loop().create_future()
        self._standing.append((place, life, standing))
        await standing
        life.check()

    def drop_tasks(self, life: Life) -> None:
        """Drop the stopped tasks of a dead process."""
        for _, whose, standing in self._standing:
            if whose is life and not standing.done():
                standing.set_exception(ProcessKilled())
        self._standing = [found for found in self._standing if found[1] is not life]

    def idle(self, timeout: float | None) -> float:
        """Called when nothing runs. Resume one task and return 0, or return the seconds until the next timer."""
        self._turns += 1
        if self._turns > MAX_TURNS:
            raise Stuck("a task never ends")
        self._standing = [found for found in self._standing if not found[2].done()]
        stalled = timeout is not None and self._stalls and self._chance.random() < self._stalls
        if self._standing and not stalled:
            _, _, standing = self._standing.pop(self._chance.randrange(len(self._standing)))
            standing.set_result(None)
            return 0.0
        if timeout is None:
            raise Stuck("no task can continue")
        return timeout


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers fire without waiting."""

    def __init__(self, schedule: Schedule) -> None:
        self.now = 0.0
        super().__init__(_Idle(self, schedule))

    def time(self) -> float:
        return self.now


class _Idle(selectors.DefaultSelector):
    """A selector without files."""

    def __init__(self, loop: VirtualLoop, schedule: Schedule) -> None:
        super().__init__()
        self._loop = loop
        self._schedule = schedule

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or timeout > 0:
            self._loop.now += self._schedule.idle(timeout)
        return []

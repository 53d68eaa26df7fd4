"""Virtual time, and who goes on next: an event loop that never waits, and a seeded schedule of its tasks.

Every place where the product waits for a disk or a network is a point. A task that comes to one stands there until
nothing else can move; then one of those that stand is let go on, by chance from a seed. Where nobody stands, time jumps
to the next timer. At any point a process can be killed.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import selectors
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

MOST_TURNS = 200_000


def chance(seed: int) -> random.Random:
    """Draws that come the same for the same seed."""
    return random.Random(seed)  # noqa: S311 - nothing is hidden by it


class Crashed(BaseException):
    """The process is dead: unwinds everything, and nothing that it meets on its way has an effect any more."""


class Stuck(AssertionError):
    """Nothing can go on, or it goes on for ever."""


class Life:
    """One life of a process. `end` is called when it is killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True

    def check(self) -> None:
        """Go no further in a dead process."""
        if not self.alive:
            raise Crashed


living: ContextVar[Life | None] = ContextVar("living", default=None)
"""The process that this task belongs to."""


class Schedule:
    """Lets one task go on at a time. A step begins with `begin`, which gives the seed and says where to kill."""

    def __init__(self) -> None:
        self._standing: list[tuple[str, Life, asyncio.Future[None]]] = []
        self._chance = chance(0)
        self._kill_at: int | None = None
        self._kill: Callable[[Life], None] = lambda life: None
        self._stalls = 0.0
        self._turns = 0
        self.passed = 0
        """How many points were passed in this step."""
        self.trace: list[str] = []
        """Where they were."""
        self.went = hashlib.sha256()
        """All points of all steps."""

    def begin(
        self, seed: int, kill: Callable[[Life], None], kill_at: int | None = None, *, stalls: float = 0.0
    ) -> None:
        """A new step: at its `kill_at`th point, counted from 1, the process that comes there is killed.

        `stalls`: how often, instead of letting one go on, all are kept waiting until the next timer.
        """
        self._chance = chance(seed)
        self._kill, self._kill_at, self._stalls = kill, kill_at, stalls
        self.passed = self._turns = 0
        self.trace = []

    def mark(self, place: str, life: Life) -> None:
        """A point that is only passed: the process can be killed here, and nobody else goes on."""
        life.check()
        self.passed += 1
        self.trace.append(f"{life.name} {place}")
        self.went.update(self.trace[-1].encode())
        if self.passed == self._kill_at:
            self._kill(life)
            raise Crashed

    def point(self, name: str) -> None:
        """One of the product's own points."""
        life = living.get()
        if life is not None:
            self.mark(name, life)

    async def at(self, place: str, life: Life) -> None:
        """A point where others may go first."""
        self.mark(place, life)
        standing = asyncio.get_running_loop().create_future()
        self._standing.append((place, life, standing))
        await standing
        life.check()

    def bury(self, life: Life) -> None:
        """Let those of a dead process fall where they stand."""
        for _, whose, standing in self._standing:
            if whose is life and not standing.done():
                standing.set_exception(Crashed())
        self._standing = [found for found in self._standing if found[1] is not life]

    def idle(self, timeout: float | None) -> float:
        """Nothing moves. Let one go on (0), or say how many seconds pass until the next timer."""
        self._turns += 1
        if self._turns > MOST_TURNS:
            raise Stuck("it goes on for ever")
        self._standing = [found for found in self._standing if not found[2].done()]
        stalled = timeout is not None and self._stalls and self._chance.random() < self._stalls
        if self._standing and not stalled:
            _, _, standing = self._standing.pop(self._chance.randrange(len(self._standing)))
            standing.set_result(None)
            return 0.0
        if timeout is None:
            raise Stuck("nothing can go on")
        return timeout


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose seconds pass at once."""

    def __init__(self, schedule: Schedule) -> None:
        self.now = 0.0
        super().__init__(_Idle(self, schedule))

    def time(self) -> float:
        return self.now


class _Idle(selectors.DefaultSelector):
    """Asked by the loop to wait for files. There are none."""

    def __init__(self, loop: VirtualLoop, schedule: Schedule) -> None:
        super().__init__()
        self._loop = loop
        self._schedule = schedule

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or timeout > 0:
            self._loop.now += self._schedule.idle(timeout)
        return []

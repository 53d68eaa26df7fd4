"""A world: one state folder, two server processes over it, upstream, people who decide, and time.

A step lets some of them act at once, in an order by chance from a seed, and can kill a process at any point of it.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio.to_thread

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import Limits, Policy, Rule
from machines_mcp.storage import failpoints
from machines_mcp.storage.audit_checkpoint import EMPTY, Checkpoint
from tests.machine.disk import Disk
from tests.machine.loop import Crashed, Life, Schedule, VirtualLoop, chance
from tests.machine.network import Fault, Weather
from tests.machine.process import Around, Process
from tests.machine.sends import Sends
from tests.machine.upstream import Habits, Upstream

NOON = 1_800_014_400.0
"""Seconds since the epoch: noon of a day in UTC."""
PER_DAY_CENTS = 30_000
PER_USER_DAY_CENTS = 20_000
NAMES = ("A", "B")


def policy() -> Policy:
    """Asks a person about what matters, with caps that a few payments reach."""
    return Policy(
        dict.fromkeys(ActionClass, Rule.ASK) | {ActionClass.READ: Rule.ALLOW, ActionClass.WRITE: Rule.ALLOW},
        dialog=frozenset(ActionClass),
        limits=Limits(unbounded_cards=True, per_day_cents=PER_DAY_CENTS, per_user_day_cents=PER_USER_DAY_CENTS),
    )


@dataclass
class Ask:
    """A call that a person is asked about: under `id`, once that is known."""

    tool: str
    arguments: dict[str, Any]
    id: str | None = None


@dataclass
class Step:
    """How a step goes: which share of the requests and of the transactions fails, and where a process is killed."""

    seed: int = 0
    rough: float = 0.0
    failing: float = 0.0
    kill_at: int | None = None
    power: bool = False
    mutations: tuple[Fault | None, ...] = ()


@dataclass
class Told:
    """What callers were told, which must stay true."""

    asks: list[Ask] = field(default_factory=list)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The first good answer of each intent."""
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The outcome of each intent that was seen to be kept: no later answer is another."""
    deposits: list[str] = field(default_factory=list)
    """The deposits that callers were told of."""
    wrong: list[str] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    """How often each tool answered with each code."""
    head: Checkpoint = EMPTY
    """Up to where the audit was found whole."""

    def judge(self, tool: str, answer: dict[str, Any], approval_id: str | None = None) -> None:
        """An answer came: what it is by itself, and beside the one before it."""
        self.codes[f"{tool} {answer['code']}"] += 1
        if answer["code"] == "internal":
            self.wrong.append(f"{tool} failed in a way it did not foresee")
        if approval_id is None or answer["code"] != "ok":
            return
        self.outcomes.setdefault(approval_id, answer)
        if approval_id in self.kept and not says(answer, self.kept[approval_id]):
            self.wrong.append(f"{tool} gave a repeated call another outcome")


def says(answer: dict[str, Any], outcome: dict[str, Any]) -> bool:
    """Whether an answer is that outcome, but for where to go next."""
    return all(answer.get(name) == value for name, value in outcome.items() if name != "next_steps")


class World:
    """Everything of one run. Close it."""

    def __init__(self, habits: Habits | None = None, *, seed: int = 0) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="machines-machine-", dir=_memory()))
        self.schedule = Schedule()
        self.loop = VirtualLoop(self.schedule)
        self.set_back = 0.0
        self.weather = Weather()
        self.disk = Disk(self.root / "state")
        self.upstream = Upstream(habits or Habits(), self.upstream_clock)
        self.sends = Sends(self.disk.folder / "state.db", self.upstream.label)
        self.told = Told()
        self.numbers = 0
        self._processes: dict[str, Process] = {}
        self._background: list[asyncio.Task[Any]] = []
        self._cut = False
        self._patches = _repeatable(seed, self.schedule)
        self._patches.__enter__()
        self._around = Around(
            self.disk, self.schedule, self.upstream, self.weather, policy(), self.clock, self.sends.note
        )

    def clock(self) -> float:
        """Seconds since the epoch, as the processes read them."""
        return self.upstream_clock() - self.set_back

    def upstream_clock(self) -> float:
        """The same as upstream reads them: on a machine whose clock nobody sets."""
        return NOON + self.loop.now

    def number(self) -> int:
        """One that no other call has."""
        self.numbers += 1
        return self.numbers

    def process(self, name: str) -> Process:
        """The process by this name, started where it is not running."""
        found = self._processes.get(name)
        if found is None:
            found = self._processes[name] = Process(name, self._around)
            self._background.append(found.start(found.settle()))
        return found

    def step(self, acts: Iterable[tuple[str, Any]], how: Step | None = None) -> list[BaseException | Any]:
        """Let all of these act at once: pairs of a process's name and a function that gets it and acts.

        What each came to; `Crashed` where the process was killed under it.
        """
        how = how or Step()
        self.schedule.begin(
            how.seed, lambda life: self._kill(life, power=how.power), how.kill_at, stalls=how.rough / 20
        )
        self.weather.chance, self.disk.chance = chance(how.seed + 1), chance(how.seed + 2)
        self.weather.rough, self.disk.failing = how.rough, how.failing
        self.weather.next_mutations = list(how.mutations)
        try:
            found = self.loop.run_until_complete(self._together(list(acts)))
        finally:
            self.weather.rough = self.disk.failing = 0.0
            self.weather.next_mutations = []
            self._bury()
        for error in found:
            if isinstance(error, BaseException) and not _of_a_crash(error):
                raise error
        self._look_back()
        return found

    def wait(self, seconds: float, seed: int = 0) -> None:
        """Let time pass; what is due meanwhile happens."""
        self.schedule.begin(seed, lambda life: None)
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self._look_back()

    def kill(self, name: str, *, power: bool = False) -> None:
        """Kill a process between two steps; by a power cut all of them, and what was not synced is gone."""
        if name in self._processes or power:
            for victim in self._processes if power else [name]:
                self._kill(self._processes[victim].life, power=power)
            self._bury()

    def close(self) -> None:
        """Let everything go."""
        self.kill(NAMES[0], power=True)
        self.loop.close()
        self._patches.__exit__(None, None, None)
        shutil.rmtree(self.root)

    async def _together(self, acts: list[tuple[str, Any]]) -> list[BaseException | Any]:
        tasks = []
        for name, act in acts:
            process = self.process(name)
            tasks.append(process.start(act(process)))
        return await asyncio.gather(*tasks, return_exceptions=True)

    def _kill(self, life: Life, *, power: bool) -> None:
        self._cut |= power
        for process in self._processes.values():
            if process.life is life or power:
                process.die()
                self.schedule.bury(process.life)
                for task in process.tasks:
                    if task is not _current():
                        task.cancel()

    def _bury(self) -> None:
        for name, process in list(self._processes.items()):
            if not process.life.alive:
                # What it was at unwinds first: a dead process has nothing half open.
                self.loop.run_until_complete(_over(process.tasks))
                process.drop()
                del self._processes[name]
        if self._cut:
            self.disk.cut()
            self._cut = False

    def _look_back(self) -> None:
        """What went on in the background must not fail unforeseen."""
        over = [task for task in self._background if task.done()]
        self._background = [task for task in self._background if not task.done()]
        for task in over:
            error = None if task.cancelled() else task.exception()
            if error is not None and not _of_a_crash(error):
                raise error


async def _over(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def _current() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _of_a_crash(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_of_a_crash(inner) for inner in error.exceptions)
    return isinstance(error, Crashed | asyncio.CancelledError)


def _memory() -> str | None:
    """A file system in memory where there is one: what survives is for `Disk` to say, not for a slow sync."""
    shared = Path("/dev/shm")  # noqa: S108 - looked at, not trusted
    return str(shared) if shared.is_dir() else None


@contextmanager
def _repeatable(seed: int, schedule: Schedule) -> Iterator[None]:
    """The same chance each time, and no threads."""
    drawn = chance(seed)
    state = random.getstate()
    random.seed(seed)

    async def at_once(function: Any, *arguments: Any, **_: Any) -> Any:
        return function(*arguments)

    with (
        patch.object(secrets, "token_hex", lambda size=32: drawn.randbytes(size).hex()),
        patch.object(uuid, "uuid4", lambda: uuid.UUID(bytes=drawn.randbytes(16), version=4)),
        patch.object(anyio.to_thread, "run_sync", at_once),
        patch.object(failpoints, "hook", schedule.point),
    ):
        yield
    random.setstate(state)

"""A world: one state folder, two server processes that share it, upstream, people who decide, and time.

In a step, some of them act concurrently, in an order chosen from a seed. A process can be killed at any point.
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
from tests.machine.loop import Life, ProcessKilled, Schedule, VirtualLoop, seeded_random
from tests.machine.network import Fault, NetworkFaults
from tests.machine.process import Process, SharedEnvironment
from tests.machine.sent_mutations import SentMutations
from tests.machine.upstream import ApiOptions, VirtualUpstream

NOON = 1_800_014_400.0
"""Seconds since the epoch, at noon UTC."""
PER_DAY_CENTS = 30_000
PER_USER_DAY_CENTS = 20_000
NAMES = ("A", "B")


def policy() -> Policy:
    """Return a policy that requires approval for important actions, with caps that a few payments reach."""
    return Policy(
        dict.fromkeys(ActionClass, Rule.ASK) | {ActionClass.READ: Rule.ALLOW, ActionClass.WRITE: Rule.ALLOW},
        dialog=frozenset(ActionClass),
        limits=Limits(unbounded_cards=True, per_day_cents=PER_DAY_CENTS, per_user_day_cents=PER_USER_DAY_CENTS),
    )


@dataclass
class GatedCall:
    """A call that needs approval. `id` is its approval id, once known."""

    tool: str
    arguments: dict[str, Any]
    id: str | None = None


@dataclass
class Step:
    """The parameters of a step: the shares of failing requests and transactions, and the point of a kill."""

    seed: int = 0
    rough: float = 0.0
    failing: float = 0.0
    kill_at: int | None = None
    power: bool = False
    mutations: tuple[Fault | None, ...] = ()


@dataclass
class ResponseLog:
    """The responses that callers received, which must stay true."""

    asks: list[GatedCall] = field(default_factory=list)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The first success of each approval."""
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The stored outcome of each approval, once seen. Later responses must equal it."""
    deposits: list[str] = field(default_factory=list)
    """The deposit ids that callers received."""
    wrong: list[str] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    """How often each tool returned each code."""
    checkpoint: Checkpoint = EMPTY
    """The checkpoint up to which the audit was verified."""

    def judge(self, tool: str, answer: dict[str, Any], approval_id: str | None = None) -> None:
        """Check a response by itself and against earlier ones."""
        self.codes[f"{tool} {answer['code']}"] += 1
        if answer["code"] == "internal":
            self.wrong.append(f"{tool} failed with an internal error")
        if approval_id is None or answer["code"] != "ok":
            return
        self.outcomes.setdefault(approval_id, answer)
        if approval_id in self.kept and not matches(answer, self.kept[approval_id]):
            self.wrong.append(f"{tool} returned another outcome to a repeated call")


def matches(answer: dict[str, Any], outcome: dict[str, Any]) -> bool:
    """Whether a response equals an outcome, except for its next steps."""
    return all(answer.get(name) == value for name, value in outcome.items() if name != "next_steps")


class VirtualWorld:
    """The complete state of one run. Must be closed."""

    def __init__(self, habits: ApiOptions | None = None, *, seed: int = 0) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="machines-machine-", dir=_memory()))
        self.schedule = Schedule()
        self.loop = VirtualLoop(self.schedule)
        self.set_back = 0.0
        self.weather = NetworkFaults()
        self.disk = Disk(self.root / "state")
        self.upstream = VirtualUpstream(habits or ApiOptions(), self.upstream_clock)
        self.sends = SentMutations(self.disk.folder / "state.db", self.upstream.label)
        self.told = ResponseLog()
        self.numbers = 0
        self._processes: dict[str, Process] = {}
        self._background: list[asyncio.Task[Any]] = []
        self._cut = False
        self._patches = _repeatable(seed, self.schedule)
        self._patches.__enter__()
        self._around = SharedEnvironment(
            self.disk, self.schedule, self.upstream, self.weather, policy(), self.clock, self.sends.note
        )

    def clock(self) -> float:
        """Seconds since the epoch, as the processes read them."""
        return self.upstream_clock() - self.set_back

    def upstream_clock(self) -> float:
        """Seconds since the epoch, as upstream reads them. Its clock is never changed."""
        return NOON + self.loop.now

    def unique_number(self) -> int:
        """Return a number that no other call has."""
        self.numbers += 1
        return self.numbers

    def process(self, name: str) -> Process:
        """Return the process with this name, and start it if it is not running."""
        found = self._processes.get(name)
        if found is None:
            found = self._processes[name] = Process(name, self._around)
            self._background.append(found.start(found.reconcile_interrupted()))
        return found

    def step(self, acts: Iterable[tuple[str, Any]], how: Step | None = None) -> list[BaseException | Any]:
        """Run actions concurrently: pairs of a process's name and a function that takes the process.

        Returns each action's result, or `ProcessKilled` if the process was killed during it.
        """
        how = how or Step()
        self.schedule.begin(
            how.seed, lambda life: self._kill(life, power=how.power), how.kill_at, stalls=how.rough / 20
        )
        self.weather.chance, self.disk.chance = seeded_random(how.seed + 1), seeded_random(how.seed + 2)
        self.weather.rough, self.disk.failing = how.rough, how.failing
        self.weather.next_mutations = list(how.mutations)
        try:
            found = self.loop.run_until_complete(self._together(list(acts)))
        finally:
            self.weather.rough = self.disk.failing = 0.0
            self.weather.next_mutations = []
            self._remove_dead()
        for error in found:
            if isinstance(error, BaseException) and not _of_a_crash(error):
                raise error
        self._check_background()
        return found

    def wait(self, seconds: float, seed: int = 0) -> None:
        """Let time pass, with everything that is due meanwhile."""
        self.schedule.begin(seed, lambda life: None)
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self._check_background()

    def kill(self, name: str, *, power: bool = False) -> None:
        """Kill a process between two steps. A power cut kills every process and loses what was not synced."""
        if name in self._processes or power:
            for victim in self._processes if power else [name]:
                self._kill(self._processes[victim].life, power=power)
            self._remove_dead()

    def close(self) -> None:
        """Release every resource."""
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
                self.schedule.drop_tasks(process.life)
                for task in process.tasks:
                    if task is not _current():
                        task.cancel()

    def _remove_dead(self) -> None:
        for name, process in list(self._processes.items()):
            if not process.life.alive:
                # Unwind its tasks first, because a dead process has no open transaction.
                self.loop.run_until_complete(_finished(process.tasks))
                process.drop()
                del self._processes[name]
        if self._cut:
            self.disk.cut()
            self._cut = False

    def _check_background(self) -> None:
        """Fail if background work failed unexpectedly."""
        over = [task for task in self._background if task.done()]
        self._background = [task for task in self._background if not task.done()]
        for task in over:
            error = None if task.cancelled() else task.exception()
            if error is not None and not _of_a_crash(error):
                raise error


async def _finished(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def _current() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _of_a_crash(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_of_a_crash(inner) for inner in error.exceptions)
    return isinstance(error, ProcessKilled | asyncio.CancelledError)


def _memory() -> str | None:
    """Return an in-memory file system, if any. `Disk` models what survives, so slow syncs are unnecessary."""
    shared = Path("/dev/shm")  # noqa: S108 - looked at, not trusted
    return str(shared) if shared.is_dir() else None


@contextmanager
def _repeatable(seed: int, schedule: Schedule) -> Iterator[None]:
    """Make random values repeatable and run threads inline."""
    drawn = seeded_random(seed)
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

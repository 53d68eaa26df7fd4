"""The state machine: hypothesis chooses the actors, the faults, the kills and the passage of time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.machine.actors import KINDS, Kind, act
from tests.machine.invariants import check
from tests.machine.recovery import recover_and_check
from tests.machine.upstream import ApiOptions
from tests.machine.world import NAMES, Step, VirtualWorld

_SEEDS = st.integers(0, 2**20)
_ACTS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(KINDS), st.integers(0, 15)), min_size=1, max_size=5)
_RUSHED: tuple[Kind, ...] = ("pay", "pay", "call", "call", "through", "through", "dialog", "twin")
_HABITS = st.builds(
    ApiOptions,
    honours_keys=st.sampled_from([True, False, False]),
    dates_cards=st.booleans(),
    list_lag=st.sampled_from([0.0, 2.0]),
    signs_after=st.sampled_from([0.0, 1.5, 100.0]),
)


class Machine(RuleBasedStateMachine):
    """One run: a world and its steps."""

    steps: ClassVar[int] = 0
    """The number of steps in all runs of this process."""
    runs: ClassVar[int] = 0
    went: ClassVar[int] = 0
    """A digest of the runs, equal for equal runs."""

    def __init__(self) -> None:
        super().__init__()
        Machine.runs += 1
        self.world: VirtualWorld | None = None
        self.failed = False

    @initialize(habits=_HABITS)
    def begin(self, habits: ApiOptions) -> None:
        self.world = VirtualWorld(habits)

    @rule(acts=_ACTS, seed=_SEEDS)
    def fair(self, acts: list[tuple[str, Kind, int]], seed: int) -> None:
        """Act concurrently without faults."""
        self._step(acts, Step(seed))

    @rule(acts=_ACTS, seed=_SEEDS, rough=st.sampled_from([0.2, 0.6]), failing=st.sampled_from([0.0, 0.0, 0.1]))
    def rough(self, acts: list[tuple[str, Kind, int]], seed: int, rough: float, failing: float) -> None:
        """Act while the network and perhaps the disk fail."""
        self._step(acts, Step(seed, rough=rough, failing=failing))

    @rule(
        acts=_ACTS,
        seed=_SEEDS,
        kill_at=st.integers(1, 160),
        power=st.booleans(),
        rough=st.sampled_from([0.0, 0.0, 0.4]),
    )
    def killed(self, acts: list[tuple[str, Kind, int]], seed: int, kill_at: int, power: bool, rough: float) -> None:
        """Kill a process midway."""
        self._step(acts, Step(seed, rough=rough, kill_at=kill_at, power=power))

    @rule(
        kind=st.sampled_from(_RUSHED),
        pick=st.integers(0, 15),
        many=st.integers(2, 6),
        seed=_SEEDS,
        rough=st.sampled_from([0.0, 0.4]),
    )
    def rush(self, kind: Kind, pick: int, many: int, seed: int, rough: float) -> None:
        """Send many similar calls at once in both processes, with large amounts."""
        pick |= 14 if kind == "pay" else 0
        acts = [(NAMES[number % 2], kind, pick + number % 2 * seed % 4) for number in range(many)]
        self._step(acts, Step(seed, rough=rough))

    @rule(seed=_SEEDS, seconds=st.sampled_from([1.0, 16.0, 301.0, 901.0, 901.0, 3_600.0, 12 * 3_600.0, 25 * 3_600.0]))
    def later(self, seconds: float, seed: int) -> None:
        """Let time pass while background work continues."""
        with self._watched():
            self._world().wait(seconds, seed)

    @rule(name=st.sampled_from(NAMES), power=st.booleans())
    def restart(self, name: str, power: bool) -> None:
        """Kill a process between two calls."""
        self._world().kill(name, power=power)

    @rule(seconds=st.sampled_from([100.0, 3_600.0]))
    def clock_set_back(self, seconds: float) -> None:
        """Set the machine's clock back, or set it right again."""
        self._world().set_back = 0.0 if self._world().set_back else seconds

    @rule(seed=_SEEDS)
    def rest(self, seed: int) -> None:
        """Recover without faults."""
        with self._watched():
            recover_and_check(self._world(), seed)

    @invariant()
    def holds(self) -> None:
        """Check every invariant."""
        Machine.steps += 1
        if self.world is not None:
            with self._watched():
                check(self.world)

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            if not self.failed:
                recover_and_check(self.world)
        finally:
            self.world.close()
            Machine.went ^= int.from_bytes(self.world.schedule.went.digest()[:8]) * Machine.runs % 2**64

    def _step(self, acts: list[tuple[str, Kind, int]], how: Step) -> None:
        world = self._world()
        with self._watched():
            world.step([(name, act(world, kind, pick)) for name, kind, pick in acts], how)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Stop checking a run after its first failure."""
        try:
            yield
        except BaseException:
            self.failed = True
            raise

    def _world(self) -> VirtualWorld:
        assert self.world is not None
        return self.world

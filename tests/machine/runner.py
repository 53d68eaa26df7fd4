"""Run the state machine for a number of steps from a seed, and count."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.machine import Machine

STEPS_PER_RUN = 30
# A hypothesis search remembers what it tried. After this many runs, a new search begins with the next seed.
_RUNS_PER_SEARCH = 200


@dataclass(frozen=True)
class Count:
    """The counts of a run. `seconds` is CPU time."""

    steps: int
    runs: int
    seconds: float
    went: str
    """A digest, equal for equal runs."""


def run(steps: int, first_seed: int, *, shrink: bool = False) -> Count:
    """Run at least this many steps. The same seed repeats them in the same environment.

    Another environment may give other steps, because hypothesis also draws constants from the loaded modules.

    Raises:
        InvariantViolated: An invariant was violated. The run is printed; with `shrink`, the shortest one found.
    """
    Machine.steps = Machine.runs = Machine.went = 0
    began, number = time.process_time(), first_seed
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    while Machine.steps < steps:
        left = (steps - Machine.steps) // STEPS_PER_RUN + 1
        run_state_machine_as_test(
            seed(number)(Machine),
            settings=settings(
                max_examples=min(left, _RUNS_PER_SEARCH),
                stateful_step_count=STEPS_PER_RUN,
                deadline=None,
                database=None,
                phases=phases,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
        number += 1
    return Count(Machine.steps, Machine.runs, time.process_time() - began, f"{Machine.went:016x}")

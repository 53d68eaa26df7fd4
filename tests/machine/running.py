"""Runs the state machine for a number of steps from a seed, and counts."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.machine import Machine

STEPS_PER_RUN = 30
# One search of hypothesis remembers what it tried; after so many runs a new one begins, with the next seed.
_RUNS_PER_SEARCH = 200


@dataclass(frozen=True)
class Count:
    """What was done, in `seconds` of CPU."""

    steps: int
    runs: int
    seconds: float
    went: str
    """Equal for two that went the same way."""


def run(steps: int, first_seed: int, *, shrink: bool = False) -> Count:
    """At least so many steps, the same for the same seed in the same environment.

    Elsewhere they can be others: hypothesis draws numbers also from the constants of whatever modules are loaded.

    Raises:
        Violated: An invariant did not hold. The run to it is printed; with `shrink` the shortest one that is found.
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

"""The state machine finds no violation, and repeats itself for the same seed."""

from __future__ import annotations

import pytest

from tests.machine.runner import run


def test_no_invariant_is_violated_under_faults_and_kills() -> None:
    done = run(250, 1)

    assert done.steps >= 250


def test_same_seed_repeats_the_run() -> None:
    first, second, other = run(60, 5), run(60, 5), run(60, 6)

    assert first.went == second.went
    assert first.went != other.went


@pytest.mark.parametrize("seed", [1_000, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2_000, 3_000))])
def test_no_invariant_is_violated_in_long_runs(seed: int) -> None:
    done = run(2_500, seed)

    assert done.steps >= 2_500

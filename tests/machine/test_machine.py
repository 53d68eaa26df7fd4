"""The state machine finds nothing against the product, and goes the same way for the same seed."""

from __future__ import annotations

import pytest

from tests.machine.running import run


def test_no_invariant_is_violated_whatever_fails_and_whoever_dies() -> None:
    done = run(250, 1)

    assert done.steps >= 250


def test_a_seed_goes_the_same_way_each_time() -> None:
    first, second, other = run(60, 5), run(60, 5), run(60, 6)

    assert first.went == second.went
    assert first.went != other.went


@pytest.mark.check
@pytest.mark.parametrize("seed", [1_000, 2_000, 3_000])
def test_no_invariant_is_violated_in_many_more_steps(seed: int) -> None:
    done = run(2_500, seed)

    assert done.steps >= 2_500

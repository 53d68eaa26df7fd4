"""The state machine finds each planted bug."""

from __future__ import annotations

import pytest

from tests.machine.invariants import InvariantViolated
from tests.machine.planted_bugs import PLANTS, planted
from tests.machine.runner import run

# Seeds that find each bug quickly.
SOON = {name: 4 for name in PLANTS} | {"quote_used_twice": 23, "reconciled_by_all": 3}


@pytest.mark.parametrize("name", PLANTS)
def test_planted_bug_is_found_quickly(name: str) -> None:
    with planted(name), pytest.raises(InvariantViolated):
        run(12_000, SOON[name])  # Most end within 3,000 steps; other loaded modules change the steps.


@pytest.mark.long
@pytest.mark.parametrize("name", PLANTS)
def test_planted_bug_is_found_from_any_seed(name: str) -> None:
    with planted(name), pytest.raises(InvariantViolated):
        run(10_000, 11)

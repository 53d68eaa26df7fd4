"""Each planted bug is found."""

from __future__ import annotations

import pytest

from tests.machine.invariants import Violated
from tests.machine.plants import PLANTS, planted
from tests.machine.running import run

# A seed that comes upon each of them soon.
SOON = {name: 4 for name in PLANTS} | {"quote_used_twice": 23, "settled_by_many": 8}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found_soon(name: str) -> None:
    with planted(name), pytest.raises(Violated):
        run(3_000, SOON[name])


@pytest.mark.check
@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found_from_any_seed(name: str) -> None:
    with planted(name), pytest.raises(Violated):
        run(10_000, 11)

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.measure import Samples
from benchmarks.report import rows_beside_fsync
from benchmarks.writes import WRITES_A_ROUND, measure_writes


@pytest.mark.check
@pytest.mark.skipif(sys.platform == "win32", reason="the pipes are read with select")
def test_calls_and_appends_are_measured_in_each_round(tmp_path: Path) -> None:
    for samples in measure_writes(tmp_path, "2025-11-25", 2):
        assert [len(taken) for taken in samples.rounds] == [WRITES_A_ROUND] * 2
        assert all(value > 0 for taken in samples.rounds for value in taken)


def test_write_is_compared_with_an_fsync_of_its_own_round() -> None:
    (row,) = rows_beside_fsync(Samples([[3.0], [5.0]]), Samples([[1.0], [4.5]]))
    assert (row.low, row.high) == (0.5, 2.0)
    assert row.kind == "difference"
    assert row.aim == 1.0

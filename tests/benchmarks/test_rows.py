"""The benchmark of a call beside many rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.measure import Samples
from benchmarks.report import rows_by_size
from benchmarks.rows import STEPS_A_ROUND, measure_rows


@pytest.mark.check
def test_one_of_both_servers_has_more_rows_in_each_table_that_grows(tmp_path: Path) -> None:
    filled, empty = measure_rows(tmp_path, "2025-11-25", 1, rows=30)
    assert [len(each) for each in (*filled.rounds, *empty.rounds)] == [STEPS_A_ROUND] * 2
    for table in ("approvals", "mutations", "quotes", "withdrawals", "known_users", "audit"):
        counts = []
        for rows in ("30", "0"):
            with closing(sqlite3.connect(tmp_path / rows / "state" / "embedded" / "state.db")) as db:
                counts.append(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608
        assert counts[0] - counts[1] == (60 if table == "audit" else 30)


@pytest.mark.parametrize(("filled", "met"), [(1.1, True), (1.2, False)])
def test_cost_may_grow_by_a_tenth(filled: float, met: bool) -> None:
    (row,) = rows_by_size(Samples([[filled * 2]]), Samples([[2.0]]), 100_000)
    assert (row.quantity, row.met) == ("a change and status, 100,000 rows, median", met)

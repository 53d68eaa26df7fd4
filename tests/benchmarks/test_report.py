"""The report on measured figures."""

from __future__ import annotations

import json

import pytest

from benchmarks.measure import Figures, Samples
from benchmarks.report import Row, as_json, as_table, memory_rows, rows_beside_bare, rows_beside_raw
from benchmarks.wire import Command


def _figures(milliseconds: float, memory: float | None = 60.0) -> Figures:
    times, bursts = Samples([[milliseconds] * 4] * 2), Samples([[1000 / milliseconds]] * 2)
    return Figures(
        Command("a server", ()),
        start=times,
        first_calls=times,
        lists=times,
        calls=times,
        bursts=bursts,
        memory=memory,
    )


def _row(rows: list[Row], quantity: str) -> Row:
    (row,) = (row for row in rows if row.quantity.startswith(quantity))
    return row


def test_ours_is_divided_by_the_bare_server() -> None:
    rows = rows_beside_bare(_figures(1.0, 66.0), _figures(2.0, 60.0))

    assert _row(rows, "local tool call, median").compared == 0.5
    assert _row(rows, "start to a tool's result").compared == 0.5
    assert _row(rows, "calls per second").compared == 2.0
    assert _row(rows, "peak memory").compared == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("ours", "met"),
    [(0.2, True), (0.4, True), (0.41, False), (2.0, False)],
)
def test_smaller_ratio_meets_an_upper_target(ours: float, met: bool) -> None:
    assert _row(rows_beside_bare(_figures(ours), _figures(1.0)), "local tool call, median").met is met


@pytest.mark.parametrize(("ours", "met"), [(0.1, True), (0.3, True), (0.34, False), (1.0, False)])
def test_greater_ratio_meets_a_lower_target(ours: float, met: bool) -> None:
    assert _row(rows_beside_bare(_figures(ours), _figures(1.0)), "calls per second").met is met


def test_reads_are_compared_by_difference_and_spread() -> None:
    (row,) = rows_beside_raw(Samples([[3.0], [5.0], [4.0]]), Samples([[2.0], [2.0], [2.0]]))

    assert (row.compared, row.low, row.high, row.met) == (2.0, 1.0, 3.0, False)


def test_unavailable_memory_gives_no_row() -> None:
    assert memory_rows("peak memory", None, 60.0) == []


def test_json_says_whether_each_target_is_met() -> None:
    rows = json.loads(as_json(rows_beside_bare(_figures(1.0), _figures(1.0)), 2, "2025-11-25"))["rows"]

    assert {row["quantity"]: row["met"] for row in rows} == {
        "start to the first response, median": False,
        "start to a tool's result, median": True,
        "tools/list, median": False,
        "local tool call, median": False,
        "local tool call, 99th percentile": None,
        "calls per second, 50 in flight": False,
        "peak memory, local calls": True,
    }


def test_table_columns_have_one_width() -> None:
    lines = as_table(rows_beside_bare(_figures(1.0), _figures(200.0))).splitlines()

    assert len({len(line) for line in lines}) == 1

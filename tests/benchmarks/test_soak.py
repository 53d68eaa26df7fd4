"""The soak benchmark: slopes, shares and scales, and a short run with calls and faults."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from benchmarks.load import Sample
from benchmarks.plot import Line, Panel, draw
from benchmarks.soak import Figures, Watch, panels, quantile, slope, soak, told


def test_slope_is_that_of_the_fitted_line() -> None:
    assert slope([(0, 10.0), (10, 15.0), (20, 20.0)]) == pytest.approx(0.5)
    assert slope([(0, 10.0), (10, 12.0), (20, 8.0), (30, 10.0)]) == pytest.approx(-0.04)
    assert slope([(5, 7.0)]) == 0.0


def test_last_percent_of_a_hundred_values_is_one_value() -> None:
    values = [float(value) for value in range(100)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1.0)) == (50, 99, 99)


def test_each_interval_has_its_own_times_and_errors() -> None:
    samples = [Sample(at, "status", 10.0 if at < 30 else 50.0, "ok" if at < 30 else "internal") for at in range(60)]
    watch = Watch(0)
    watch.samples = [(at, 100.0) for at in range(90)]
    figures = Figures(1, 1, 0, 1, errors={"internal": 30})
    memory, times, errors = panels(figures, samples, watch)
    assert len(memory.lines[0].points) == 61, "values after the last call must not be drawn"
    (p50, _) = times.lines
    assert Counter(value for _, value in p50.points) == {10.0: 30, 50.0: 30}
    assert [line.name for line in errors.lines] == ["internal"]
    assert [value for _, value in errors.lines[0].points] == [0] * 30 + [100] * 30


def test_chart_lines_stay_within_their_scale() -> None:
    picture = draw("A & B", [Panel("<p>", [Line("up", [(0, 0), (1, 70)]), Line("flat", [(0, 35), (1, 35)])])], 1)
    assert "A &amp; B" in picture
    assert "&lt;p&gt;" in picture
    assert ">80</text>" in picture, "the scale must end at the next round number above 70"
    assert picture.count("<polyline") == 2
    (first,) = [line for line in picture.splitlines() if "<polyline" in line and "#0b6e99" in line]
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in first.split('"')[1].split())
    assert x0 < x1
    assert y1 < y0


@pytest.mark.check
def test_short_soak_reports_responses_faults_and_memory() -> None:
    figures, samples, watch = asyncio.run(soak(0.25, 10, 0.5, 3))
    print(told(figures))
    assert figures.calls == len(samples) >= 150
    assert figures.armed > 20
    assert figures.errors, "half of the calls must meet a fault"
    assert {sample.tool for sample in samples} > {"get_balances", "list_cards", "create_card"}
    assert "internal" not in figures.errors
    assert len(watch.samples) > 10
    assert figures.settled == figures.unknown_at_first
    assert 20 < figures.memory_last < 500

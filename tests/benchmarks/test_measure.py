"""How the benchmarks alternate and count. No test here depends on elapsed time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.measure import Load, Samples, measure, turns
from benchmarks.wire import ERAS, BenchmarkError, Command, Era, Wire

ROOT = Path(__file__).parents[2]


def _python(*arguments: str) -> Command:
    return Command("a server", (sys.executable, *arguments), {"PATH": os.defpath, "PYTHONPATH": str(ROOT)})


def test_each_runs_once_a_round_in_rotating_order() -> None:
    assert [taker for _, taker in turns("ab", 2)] == ["b", "a", "a", "b", "b", "a"]


def test_first_round_warms_up_and_does_not_count() -> None:
    assert [counted for counted, _ in turns("ab", 2)] == [False, False, True, True, True, True]


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_quantile_covers_all_rounds(share: float, value: float) -> None:
    samples = Samples([[float(n) for n in range(100, 50, -1)], [float(n) for n in range(1, 51)]])

    assert samples.quantile(share) == value


@pytest.mark.check
@pytest.mark.parametrize("era", ERAS)
def test_every_quantity_of_a_running_server_is_measured(era: Era) -> None:
    load = Load(lists=3, calls=3, burst=4, in_flight=3, pings=4 if era == "2025-11-25" else 0)

    (figures,) = measure([_python("-m", "benchmarks.bare_server")], era, 1, load)

    sizes = [[len(values) for values in samples.rounds] for samples in (figures.start, figures.lists, figures.calls)]
    assert sizes == [[1], [3], [3]]
    assert figures.first_calls.quantile(0.5) > figures.start.quantile(0.5)
    assert figures.bursts.quantile(0.5) > 0
    assert len(figures.pings.rounds) == bool(load.pings)
    assert figures.tools == 1
    assert 100 < figures.listed < 2000
    assert figures.memory is None or figures.memory > 10


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ('{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}', "refused"),
        ('{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}', "refused"),
        ("", "closed its output"),
    ],
)
def test_unsuccessful_response_ends_the_measurement(answer: str, complaint: str) -> None:
    script = f"input(); print({answer!r}, end={chr(10) if answer else ''!r})"
    with Wire(_python("-c", script), ERAS[0]) as wire, pytest.raises(BenchmarkError, match=complaint):
        wire.ask("tools/call", {})

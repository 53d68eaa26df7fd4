from __future__ import annotations

import asyncio

import pytest

from tests.leaks.campaign import MODES, LeakCampaign, LeakReport, Mode, simulator
from tests.leaks.server import ERAS

QUICK = (Mode(ERAS[0], echo=0.02), Mode(ERAS[1], dialog=False, form=True))


def _run(calls: int, calls_per_server: int, modes: tuple[Mode, ...], seed: int = 7) -> LeakReport:
    with simulator() as found:
        return asyncio.run(LeakCampaign(calls, seed, found, modes=modes, calls_per_server=calls_per_server).run())


def _assert_enough_traffic(report: LeakReport, share: float) -> None:
    """Check that the run produced enough traffic for the absence of secrets to count."""
    told = "\n".join(report.lines())
    assert report.tally.reached > share * report.tally.calls, told
    assert len(report.tally.outcomes) > 60, told
    assert report.shown > report.tally.calls / 2, told
    assert report.masked > report.tally.calls / 20, told
    assert len(report.faults) > 5, told
    assert report.at_the_desk > 0, told
    for canary_kind in ("pan", "cvc", "ssn", "passport", "secret key", "session token", "partner key", "bearer"):
        assert report.placed[f"{canary_kind}/stray"] > 0, told


def test_no_secret_leaks_in_three_hundred_calls() -> None:
    report = _run(300, 150, QUICK)
    print("\n".join(report.lines()))
    assert report.hits == [], "\n".join(report.lines())
    assert report.unexpected == []
    _assert_enough_traffic(report, 0.3)


@pytest.mark.parametrize(
    ("calls", "segment"), [(1500, 215), pytest.param(3000, 430, marks=pytest.mark.long)], ids=["1500", "3000"]
)
def test_no_secret_leaks_in_all_modes(calls: int, segment: int) -> None:
    report = _run(calls, segment, MODES)
    print("\n".join(report.lines()))
    assert report.hits == [], "\n".join(report.lines())
    assert report.unexpected == []
    assert report.reveals > 5
    assert report.cards_seen > 0
    _assert_enough_traffic(report, 0.4)

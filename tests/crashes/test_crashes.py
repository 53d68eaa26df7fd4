"""Whatever moment a server dies at, what was wished happens once: real processes, one upstream, `kill -9`."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("fcntl", reason="servers are forked")

from tests.crashes.campaign import POINTS, Campaign, Report

SEED = 11


def _run(campaign: Campaign) -> Report:
    report = asyncio.run(campaign.run())
    print("\n".join(report.lines()))
    return report


def _says_something(report: Report) -> None:
    """A zero proves nothing where nothing was at stake."""
    deaths = report.deaths
    assert deaths.under_way > 2 * deaths.kills, "calls were under way at the kills"
    assert deaths.executing > deaths.kills, "approvals had been taken and had no outcome"
    assert deaths.pending > deaths.kills / 2, "requests had gone out and had no answer"
    assert report.crossed > deaths.kills / 2
    assert report.verdict.states["done"] > report.verdict.wishes / 2
    assert report.aftermath.secrets > 2
    assert report.aftermath.bytes["stdout"] > 10_000


def test_what_was_wished_happens_once_over_a_few_kills() -> None:
    report = _run(Campaign(5, SEED))
    assert report.faults == []
    assert report.deaths.kills == 5
    assert report.deaths.under_way > 5
    assert report.verdict.states["done"] > 10


@pytest.mark.check
def test_what_was_wished_happens_once_over_a_hundred_kills() -> None:
    report = _run(Campaign(100, SEED))
    assert report.faults == []
    assert report.deaths.kills == 100
    assert set(POINTS) - report.deaths.passed.keys() == set(), "every labelled point was passed"
    assert len(report.deaths.at_points) > len(POINTS) / 2, "and servers died at most of them"
    _says_something(report)


@pytest.mark.check
def test_it_does_where_upstream_ignores_the_keys_too() -> None:
    report = _run(Campaign(40, SEED, keys=False))
    assert report.faults == []
    _says_something(report)


@pytest.mark.check
@pytest.mark.parametrize("naive", [False, True], ids=["repeated by id", "called anew"])
def test_without_the_journal_the_same_loop_doubles(naive: bool) -> None:
    report = _run(Campaign(24, SEED, keys=False, journal=False, naive=naive))
    assert report.verdict.doubled, "the loop would not see what it is there for"

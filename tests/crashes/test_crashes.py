"""Operations take effect once, whenever a server is killed: real processes, one upstream, SIGKILL."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("fcntl", reason="servers are forked")

from tests.crashes.campaign import POINTS, CrashCampaign, CrashReport

SEED = 11


def _run(campaign: CrashCampaign) -> CrashReport:
    report = asyncio.run(campaign.run())
    print("\n".join(report.lines()))
    return report


def _assert_enough_activity(report: CrashReport) -> None:
    """Check that the run had enough activity for the absence of violations to count."""
    kill_counts = report.kill_counts
    assert kill_counts.under_way > 2 * kill_counts.kills, "calls must be in flight at the kills"
    assert kill_counts.executing > kill_counts.kills, "consumed approvals must lack an outcome at the kills"
    assert kill_counts.pending > kill_counts.kills / 2, "sent requests must lack a response at the kills"
    assert report.crossed > kill_counts.kills / 2
    assert report.verdict.states["done"] > report.verdict.operations / 2
    assert report.findings.secrets > 2
    assert report.findings.bytes["stdout"] > 10_000


def test_operations_take_effect_once_over_five_kills() -> None:
    report = _run(CrashCampaign(5, SEED))
    assert report.faults == []
    assert report.kill_counts.kills == 5
    assert report.kill_counts.under_way > 5
    assert report.verdict.states["done"] > 10


def test_operations_take_effect_once_over_forty_kills() -> None:
    report = _run(CrashCampaign(40, SEED))
    assert report.faults == []
    assert report.kill_counts.kills == 40
    _assert_enough_activity(report)


@pytest.mark.long
def test_operations_take_effect_once_over_a_hundred_kills() -> None:
    report = _run(CrashCampaign(100, SEED))
    assert report.faults == []
    assert report.kill_counts.kills == 100
    assert set(POINTS) - report.kill_counts.passed.keys() == set(), "every failpoint must be passed"
    assert len(report.kill_counts.at_points) > len(POINTS) / 2, "servers must be killed at most of them"
    _assert_enough_activity(report)


@pytest.mark.parametrize("kills", [24, pytest.param(100, marks=pytest.mark.long)])
def test_operations_take_effect_once_without_idempotency_keys(kills: int) -> None:
    report = _run(CrashCampaign(kills, SEED, keys=False))
    assert report.faults == []
    _assert_enough_activity(report)


@pytest.mark.parametrize("naive", [False, True], ids=["repeated by id", "started over"])
def test_operations_are_doubled_without_the_journal(naive: bool) -> None:
    report = _run(CrashCampaign(72, SEED, keys=False, journal=False, naive=naive))
    assert report.verdict.doubled, "the crash loop must detect doubled operations"

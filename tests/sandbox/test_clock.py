"""The sandbox's clock: what happened stays in the past also when this machine's clock is set back."""

from __future__ import annotations

import time

import pytest

from machines_mcp.sandbox.clock import Clock
from tests.support.running_sandbox import Sandbox
from tests.support.sandbox_caller import SandboxClient


def test_time_does_not_go_back_with_the_clock_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(offset=10.0)
    moments = iter([100.0, 99.5, 100.25])
    monkeypatch.setattr(time, "time", lambda: next(moments))

    assert [clock.now() for _ in range(3)] == [110.0, 110.0, 110.25]


def test_advancing_moves_a_clock_that_waits_for_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    moments = iter([100.0, 90.0, 90.0])
    monkeypatch.setattr(time, "time", lambda: next(moments))

    clock.now()
    clock.advance(5.0)

    assert [clock.now(), clock.now()] == [105.0, 105.0]


def test_a_completed_deposit_is_spendable_though_the_machine_sets_its_clock_back(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = SandboxClient(sandbox)
    user = partner.funded_user(100)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 60)
    try:
        assert user.balances()["spendingPower"] == 10_000
    finally:
        partner.close()

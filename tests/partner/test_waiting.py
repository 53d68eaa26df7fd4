from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from machines_mcp.partner import Deposit, KycStatus, NextHint, PartnerClient, errors
from machines_mcp.partner.models.base import ResponseModel
from machines_mcp.partner.waiting import wait_until_settled
from tests.partner.test_resources import USER, example
from tests.support.partner_upstream import ScriptedUpstream, good, refusal

pytestmark = pytest.mark.anyio

DEPOSIT = {"id": "deposit-0001", "fromCurrency": "rusd", "fromNetwork": "base"}
KYC = {"isTermsOfServiceAccepted": False}


class SleepClock:
    """A clock that only sleeping advances. `pauses` are in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SleepClock:
    clock = SleepClock()
    # Patch only this module's `anyio`, so that call deadlines keep using the monotonic clock.
    time = SimpleNamespace(sleep=clock.sleep, current_time=lambda: clock.now)
    monkeypatch.setattr("machines_mcp.partner.waiting.anyio", time)
    return clock


def statuses(*statuses: str, poll_after_ms: int | None = None) -> Callable[[], Awaitable[Deposit]]:
    """Return a query that gives these statuses in turn and then repeats the last."""
    left = list(statuses)
    hint = None if poll_after_ms is None else NextHint(poll_after_ms=poll_after_ms)

    async def fetch() -> Deposit:
        status = left.pop(0) if len(left) > 1 else left[0]
        return Deposit.model_validate(DEPOSIT | {"status": status}).with_hint(hint)

    return fetch


@pytest.mark.parametrize(
    ("poll_after_ms", "seconds", "pauses"),
    [
        (None, 60.0, [5.0, 5.0]),
        (2000, 60.0, [2.0, 2.0]),
        (1, 60.0, [0.25, 0.25]),
        (2000, 3.0, [2.0, 1.0]),
        (2000, 0.5, [0.5]),
        (2000, 0.0, []),
    ],
)
async def test_polling_interval_follows_the_api_within_bounds(
    clock: SleepClock, poll_after_ms: int | None, seconds: float, pauses: list[float]
) -> None:
    shares: list[float] = []

    async def note(share: float) -> None:
        shares.append(share)

    fetch = statuses("pending", "confirming", "completed", poll_after_ms=poll_after_ms)
    deposit = await wait_until_settled(fetch, seconds=seconds, on_wait=note)
    assert clock.pauses == pauses
    assert deposit.status == ("pending", "confirming", "completed")[len(pauses)]
    assert shares == [pytest.approx(sum(pauses[:n]) / seconds) for n in range(len(pauses))]


async def test_settled_status_is_fetched_once(clock: SleepClock) -> None:
    assert (await wait_until_settled(statuses("finished", "pending"), seconds=60)).status == "finished"
    assert clock.pauses == []


@pytest.mark.parametrize(
    ("model", "status", "settled"),
    [
        *[(Deposit, status, True) for status in ("completed", "finished", "failed", "refunded", "expired", "canceled")],
        *[(Deposit, status, False) for status in ("pending", "confirming", "new to us")],
        *[(KycStatus, status, True) for status in ("not_submitted", "approved", "denied", "locked", "canceled")],
        *[(KycStatus, status, False) for status in ("pending", "manual_review", "needs_verification", "new to us")],
    ],
)
def test_unknown_status_is_not_settled(model: type[ResponseModel], status: str, settled: bool) -> None:
    answer: Any = model.model_validate(DEPOSIT | KYC | {"status": status})
    assert answer.settled is settled
    if isinstance(answer, Deposit):
        assert answer.arrived is (status in ("completed", "finished"))


async def test_client_waits_fetch_until_the_status_is_settled(
    api: ScriptedUpstream, client: PartnerClient, clock: SleepClock
) -> None:
    deposit, kyc = example("getDeposit")["body"]["data"]["deposit"], example("getKycStatus")["body"]["data"]
    answers = [good({"deposit": deposit | {"status": status}}) for status in ("pending", "completed")]
    api.on("GET", "/deposits/deposit-0001", *answers)
    api.on("GET", "/kyc/status", *[good(kyc | {"status": status}) for status in ("pending", "approved")])
    assert (await client.deposits.wait(USER, "deposit-0001")).arrived
    assert (await client.kyc.wait(USER)).status == "approved"
    assert [seen.path for seen in api.calls] == ["/deposits/deposit-0001"] * 2 + ["/kyc/status"] * 2
    assert clock.pauses == [5.0, 5.0]


async def test_error_ends_a_wait(api: ScriptedUpstream, client: PartnerClient, clock: SleepClock) -> None:
    kyc = example("getKycStatus")["body"]["data"] | {"status": "pending"}
    api.on("GET", "/kyc/status", good(kyc), refusal(403))
    with pytest.raises(errors.Forbidden):
        await client.kyc.wait(USER)

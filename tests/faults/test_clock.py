"""Clocks that jump by a day: grants live no longer, calls neither fail nor hang, and expired tokens are replaced.

Daily limits are tested in tests/permissions/test_limits.py, session lifetimes in tests/partner/test_sessions.py.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteStream

from machines_mcp.partner import PartnerClient, errors
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.approvals import GRANT_SECONDS
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from tests.faults.card_upstream import CardUpstream
from tests.support.clock import Clock
from tests.support.partner_upstream import PARTNER_KEY, Answer, ScriptedUpstream, good, refusal
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

DAY, YEAR = 86_400.0, 365 * 86_400.0
# How far a clock may go back before everything stops. A grant can live this much longer at most.
TOLERANCE = 300.0
CALL = CallRequest("pay", ActionClass.MONEY, "user-1", "digest-1")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def guard(tmp_path: Path, clock: Clock) -> AsyncIterator[Guard]:
    store = Store(tmp_path / "state")
    yield build_guard(store, default_policy("embedded", read_only=False), ANY_USER, clock=clock)
    await store.close()


async def granted(guard: Guard) -> str:
    authorization = await guard.authorizer.request(CALL, ApprovalDetails("Pay?"))
    assert authorization.approval is not None
    assert await guard.approvals.grant(authorization.approval.id, "terminal")
    return authorization.approval.id


async def runs(guard: Guard, approval_id: str) -> bool:
    try:
        return (await guard.authorizer.resume(CALL, approval_id)).verdict == "run"
    except LimitExceeded:
        return False


@pytest.mark.parametrize(
    "jumps",
    [
        pytest.param([-DAY], id="a day back"),
        pytest.param([-YEAR], id="a year back"),
        pytest.param([-TOLERANCE - 1], id="more than allowed back"),
        pytest.param([DAY], id="a day on"),
        pytest.param([GRANT_SECONDS], id="to its end"),
        pytest.param([DAY, -DAY - TOLERANCE - 1], id="on and back"),
        pytest.param([-DAY, DAY + GRANT_SECONDS], id="back and on"),
    ],
)
async def test_grant_is_invalid_after_a_clock_jump(guard: Guard, clock: Clock, jumps: list[float]) -> None:
    approval_id = await granted(guard)
    for jump in jumps:
        clock.advance(jump)
        assert not await runs(guard, approval_id)


@pytest.mark.parametrize("seed", range(20))
async def test_clock_jumps_never_extend_a_grant_beyond_the_tolerance(guard: Guard, clock: Clock, seed: int) -> None:
    choice, lived = random.Random(seed), 0.0  # noqa: S311
    approval_id = await granted(guard)
    for _ in range(12):
        passed = choice.choice((1.0, 30.0, 120.0))
        lived += passed
        clock.advance(passed + choice.choice((0.0, 0.0, -120.0, -290.0, -DAY, DAY)))
        if await runs(guard, approval_id):
            assert lived < GRANT_SECONDS + TOLERANCE
            return


@pytest.mark.parametrize("jump", [-YEAR, -DAY, -1.0, DAY, YEAR], ids=lambda jump: f"{jump:+.0f} s")
async def test_calls_continue_after_a_jump_and_an_expired_token_is_replaced(
    api: ScriptedUpstream, clock: Clock, jump: float
) -> None:
    held, tokens = CardUpstream(api), set[str]()

    def under_the_newest_token(answer: Answer) -> Answer:
        async def answer_or_refuse(stream: ByteStream) -> None:
            tokens.add(api.seen[-1].token)
            newest = api.seen[-1].token.endswith(f"-{len(api.mints)}") and len(api.mints) > 1
            await (answer if newest else refusal(401, "token_expired"))(stream)

        return answer_or_refuse

    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, clock=clock) as client:
        await client.sessions.open("user-1", ["cards.read", "cards.write"])
        clock.advance(jump)
        api.on("POST", "/cards", under_the_newest_token(held.creating()))
        with anyio.fail_after(PATIENCE):
            assert (await client.cards.create("user-1")).card_id == held.cards[0]
    assert len(api.mints) == 2
    assert len(held.cards) == 1


@pytest.mark.parametrize("jump", [-YEAR, -DAY, DAY, YEAR], ids=lambda jump: f"{jump:+.0f} s")
async def test_clock_does_not_move_a_deadline(api: ScriptedUpstream, jump: float) -> None:
    clock = Clock()

    async def jump_and_stall(stream: ByteStream) -> None:
        clock.advance(jump)
        await anyio.sleep_forever()

    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, clock=clock) as client:
        await client.sessions.open("user-1", ["cards.read"])
        api.on("GET", "/cards", jump_and_stall)
        client._channel = replace(client._channel, deadline=0.1)
        with anyio.fail_after(PATIENCE), pytest.raises(errors.TimedOut):
            await client.cards.list("user-1")


@pytest.mark.parametrize("off", [-DAY, DAY], ids=["slow by a day", "fast by a day"])
async def test_retry_after_date_is_bounded_despite_a_wrong_clock(api: ScriptedUpstream, off: float) -> None:
    clock = Clock(1_735_689_600.0 + off)
    # One minute after 1 January 2025 by upstream's clock.
    busy = refusal(429, headers={"Retry-After": "Wed, 01 Jan 2025 00:01:00 GMT"})
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, clock=clock) as client:
        await client.sessions.open("user-1", ["cards.read"])
        api.on("GET", "/cards", busy, good({"cards": []}))
        with anyio.fail_after(PATIENCE):
            if off < 0:
                with pytest.raises(errors.RateLimited) as caught:
                    await client.cards.list("user-1")
                assert caught.value.retry_after == DAY
            else:
                assert (await client.cards.list("user-1")).cards == ()

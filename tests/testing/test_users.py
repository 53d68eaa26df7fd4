"""A ready user, and the control functions for tests of agents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, get_args

import anyio
import httpx
import pytest

from machines_mcp.sandbox.faults import KINDS
from machines_mcp.sandbox.kyc import DECISIONS
from machines_mcp.testing import CallFailed, FaultKind, KycDecision, NotTaken, ReadyUser, client, ready_user
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio
CARD = {"limit_amount_cents": 20_00, "limit_frequency": "per30DayPeriod"}


@pytest.fixture(scope="module")
async def user(anyio_backend: str) -> AsyncIterator[ReadyUser]:
    """Return a user with 100 dollars and no dialog. Each test leaves it in a state that the next can use."""
    async with ready_user("someone", answer=None) as found:
        yield found


@pytest.fixture(autouse=True)
async def _in_time() -> AsyncIterator[None]:
    with anyio.fail_after(PATIENCE):
        yield


async def approved(user: ReadyUser, tool: str, **arguments: object) -> dict[str, object]:
    asked = await user.try_call(tool, **arguments)
    assert await user.decide(asked["approval_id"]) == "granted"
    return await user.call(tool, approval_id=asked["approval_id"], **arguments)


async def test_ready_user_is_onboarded_and_has_the_balance(user: ReadyUser) -> None:
    assert (await user.call("get_kyc_status"))["status"] == "approved"
    assert (await user.call("get_agreements"))["accepted"] is True
    assert (await user.call("get_balances"))["spending_power_cents"] == 100_00


async def test_status_links_to_the_page_of_the_simulator(user: ReadyUser) -> None:
    found = await user.call("status")
    assert found["simulator_page"] == user.simulator.endpoint.control_url


async def test_approved_call_runs_once_and_rejected_call_does_not(user: ReadyUser) -> None:
    card = await approved(user, "create_card", **CARD)
    assert card["status"] == "active"
    asked = await user.try_call("create_card", **CARD)
    assert await user.decide(asked["approval_id"], yes=False) == "refused"
    with pytest.raises(CallFailed, match=r"^create_card: approval\.refused: ") as failed:
        await user.call("create_card", approval_id=asked["approval_id"], **CARD)
    assert failed.value.code == failed.value.payload["code"] == "approval.refused"
    assert failed.value.message == failed.value.payload["message"] != ""
    assert await user.decide(asked["approval_id"]) == "gone"


async def test_spend_is_visible_and_posts_when_the_clock_advances(user: ReadyUser) -> None:
    card_id = str((await approved(user, "create_card", **CARD))["card_id"])
    spend = await user.simulator.spend(card_id, 12_00, "Corner Shop")
    assert (spend.approved, spend.reason) == (True, None)
    declined = await user.simulator.spend(card_id, 12_00)
    assert (declined.approved, declined.reason) == (False, "card_limit")
    await user.simulator.advance(60)
    seen = {row["transaction_id"]: row for row in (await user.call("list_transactions"))["transactions"]}
    row = seen[spend.transaction_id]
    assert (row["status"], row["amount_cents"], row["merchant_name"]) == ("posted", 12_00, "Corner Shop")


async def test_deposit_arrives_on_request(user: ReadyUser) -> None:
    before = (await user.call("get_balances"))["spending_power_cents"]
    deposit = await user.call("create_deposit", currency="rusd", network="base", amount=25)
    assert (await user.call("get_balances"))["spending_power_cents"] == before
    await user.simulator.complete_deposit(deposit["deposit_id"])
    assert (await user.call("get_balances"))["spending_power_cents"] == before + 25_00


async def test_signed_withdrawal_leaves_when_executed(user: ReadyUser) -> None:
    way_out = {"currency": "rusd", "network": "base", "address": "0x" + "cd" * 20}
    quote = await user.call("quote_withdrawal", amount_cents=10_00, **way_out)
    made = await approved(user, "create_withdrawal", quote_id=quote["quote_id"])
    assert made["status"] == "ready"
    assert await user.simulator.execute_withdrawal(user.user_id) == 10_00


# The other faults are retried first, which takes time. The sandbox's own tests cover them.
@pytest.mark.parametrize("kind", ["status", "html", "wrong_types"])
async def test_fault_affects_the_next_call_and_is_reset(user: ReadyUser, kind: FaultKind) -> None:
    await user.simulator.fault("/agreements", kind, calls=20, status=404 if kind == "status" else None)
    with pytest.raises(CallFailed):
        await user.call("get_agreements")
    await user.simulator.clear_faults()
    assert (await user.call("get_agreements"))["accepted"] is True


async def test_late_response_is_waited_for(user: ReadyUser) -> None:
    await user.simulator.fault("/agreements", "delay", delay_seconds=1)
    (armed,) = await armed_faults(user)
    assert (armed["kind"], armed["delaySeconds"]) == ("delay", 1)
    assert (await user.call("get_agreements"))["accepted"] is True
    assert await armed_faults(user) == []


async def armed_faults(user: ReadyUser) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        answer = await http.get(f"{user.simulator.endpoint.control_url}/faults")
    return list(answer.json()["data"]["faults"])


async def test_rate_limit_applies(user: ReadyUser) -> None:
    await user.simulator.limit_rate(1, 3600)
    codes = [(await user.try_call("get_agreements")).get("code") for _ in range(2)]
    await user.simulator.limit_rate(0)
    assert codes[-1] == "rate.limited"


async def test_kyc_ends_with_the_requested_decision(user: ReadyUser) -> None:
    async with client(user_id="newcomer", state_dir=user.simulator.state_dir) as c:
        await c.call_tool("resolve_user", {})
        assert await user.simulator.finish_kyc("newcomer", "denied", reason="no such street") == "denied"
        answer = await c.call_tool("get_kyc_status", {})
    assert answer.structured_content is not None
    assert answer.structured_content["status"] == "denied"


async def test_rejected_control_call_says_what_is_wrong(user: ReadyUser) -> None:
    with pytest.raises(NotTaken, match=r"path: .*similar paths: /cards"):
        await user.simulator.fault("/card")
    with pytest.raises(NotTaken, match="amountCents: "):
        await user.simulator.spend("nobody's", 0)
    with pytest.raises(NotTaken, match="not found"):
        await user.simulator.complete_deposit("nobody's")


async def test_balance_that_no_deposit_reaches_is_rejected() -> None:
    with pytest.raises(ValueError, match="100 or more"):
        async with ready_user(balance_cents=99):
            pass


async def test_every_fault_and_decision_of_the_simulator_is_exposed() -> None:
    assert set(get_args(FaultKind)) == set(KINDS)
    assert set(get_args(KycDecision)) == set(DECISIONS)

"""The stored outcome of an approved call whose response is withheld: it says that the call succeeded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from machines_mcp.permissions.policy import Limits, default_policy
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.database import Store
from tests.support.clock import Clock
from tests.support.fake_tools import ERAS, Era, Harness, body, build_harness, code

pytestmark = pytest.mark.anyio

SECRET = "mst_4Tz8Kq1Wn6Rb3Yc"
ARGUMENTS = {"user_id": "user-1", "amount_cents": 500, "note": SECRET}


@pytest.fixture
def output_filter() -> OutputFilter:
    return OutputFilter()


@pytest.fixture
def harness(store: Store, clock: Clock, output_filter: OutputFilter) -> Harness:
    policy = replace(default_policy("embedded", read_only=False), limits=Limits(per_day_cents=600))
    return build_harness(store, clock, policy=policy, output_filter=output_filter)


@pytest.mark.parametrize("era", ERAS)
async def test_repeated_call_says_that_it_succeeded_and_its_money_counts(
    harness: Harness, output_filter: OutputFilter, era: Era
) -> None:
    async def learn() -> None:
        # Only now, because a question with a secret is not asked.
        output_filter.add_secret(Secret(SECRET))

    harness.upstream.before = learn
    async with harness.client(era) as client:
        asked = body(await client.call_tool("pay", dict(ARGUMENTS)))
        await harness.approvals.grant(asked["approval_id"], "terminal")
        again = {**ARGUMENTS, "approval_id": asked["approval_id"]}
        await client.call_tool("pay", again)
        told = body(await client.call_tool("pay", again))
        assert (told["code"], told["retryable"]) == ("output.blocked", False)
        assert "succeeded and its outcome is recorded" in told["message"] and SECRET not in str(told)
        other = {"user_id": "user-1", "amount_cents": 200}
        assert code(await client.call_tool("pay", other)) == "policy.denied"
    assert len(harness.upstream.paid) == 1
    (row,) = await harness.guard.store.read(lambda db: db.execute("SELECT state, outcome FROM approvals").fetchall())
    assert row["state"] == "failed" and SECRET not in row["outcome"]


@pytest.mark.parametrize("era", ERAS)
async def test_error_with_a_secret_stays_an_unknown_outcome(
    harness: Harness, output_filter: OutputFilter, era: Era
) -> None:
    async def fail() -> None:
        output_filter.add_secret(Secret(SECRET))
        raise ToolError(Code.PARTNER_REJECTED, message=SECRET)

    harness.upstream.before = fail
    async with harness.client(era) as client:
        asked = body(await client.call_tool("pay", dict(ARGUMENTS)))
        await harness.approvals.grant(asked["approval_id"], "terminal")
        again = {**ARGUMENTS, "approval_id": asked["approval_id"]}
        await client.call_tool("pay", again)
        assert code(await client.call_tool("pay", again)) == "outcome.unknown"

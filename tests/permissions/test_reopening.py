"""A form that was taken and not sent: it waits again, and what was decided about it counts no more."""

from __future__ import annotations

import pytest

from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.approval_details import Demand, Stakes
from machines_mcp.permissions.factory import Guard
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio


async def test_it_waits_again_for_what_is_left_of_its_grant_and_is_taken_only_anew(guard: Guard, clock: Clock) -> None:
    demand = Demand("submit_kyc", Effect.IDENTITY, "u", "d")
    intent = await guard.intents.open(demand, Stakes(question="?", only="form"))
    assert await guard.ways.take(intent.id, "form") == "granted"
    await guard.intents.reopen(intent.id)
    again = await guard.intents.get(intent.id)
    assert again is not None
    assert (again.state, again.decided_by, again.decided_at, again.began_at) == ("waiting", None, None, None)
    assert not await guard.intents.consume(again)
    clock.advance(299)
    assert await guard.ways.take(intent.id, "form") == "granted"
    await guard.intents.finish(intent.id, "{}", ok=True, code="ok")
    await guard.intents.reopen(intent.id)
    assert await guard.ways.get(intent.id) is None  # what has ended stays so
    verdicts = [(row.kind, row.verdict) for row in await guard.audit.rows()]
    assert verdicts.count(("outcome", "not_begun")) == 1
    assert verdicts.count(("decision", "granted")) == 2


async def test_what_is_left_of_the_grant_runs_out(guard: Guard, clock: Clock) -> None:
    demand = Demand("submit_kyc", Effect.IDENTITY, "u", "d")
    intent = await guard.intents.open(demand, Stakes(question="?", only="form"))
    await guard.ways.take(intent.id, "form")
    await guard.intents.reopen(intent.id)
    clock.advance(301)
    assert await guard.ways.take(intent.id, "form") == "gone"

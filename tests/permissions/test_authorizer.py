from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.approval import Intent
from machines_mcp.permissions.approval_details import Demand, Stakes
from machines_mcp.permissions.approvals import GRANT_SECONDS, OPEN_SECONDS, Intents
from machines_mcp.permissions.authorizer import Gate, Passage
from machines_mcp.permissions.factory import Guard, wire_guard
from machines_mcp.permissions.policy import Rule, default_policy
from machines_mcp.storage.database import Store
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

DEMAND = Demand("pay", Effect.MONEY, "user-1", "digest-1")


@pytest.fixture
def intents(guard: Guard) -> Intents:
    return guard.intents


@pytest.fixture
def gate(guard: Guard) -> Gate:
    return guard.gate


async def _asked(gate: Gate) -> Intent:
    passage = await gate.ask(DEMAND, Stakes("Pay?"))
    assert passage.verdict == "waiting"
    assert passage.intent is not None
    return passage.intent


async def test_the_gate_answers_with_the_policys_rule(gate: Gate) -> None:
    assert gate.rule(Effect.READ, "look") is Rule.ALLOW
    assert gate.rule(Effect.MONEY, "pay") is Rule.ASK


async def test_an_id_alone_lets_nothing_run(gate: Gate) -> None:
    intent = await _asked(gate)
    assert (await gate.resume(DEMAND, intent.id)).verdict == "waiting"


async def test_a_grant_runs_once_and_then_gives_its_first_outcome(gate: Gate, intents: Intents) -> None:
    intent = await _asked(gate)
    await intents.grant(intent.id, "terminal")
    assert (await gate.resume(DEMAND, intent.id)).verdict == "run"
    assert (await gate.resume(DEMAND, intent.id)).verdict == "running"
    await gate.finish(intent, '{"paid": true}', ok=True, code="ok")
    again = await gate.resume(DEMAND, intent.id)
    assert again.verdict == "repeat"
    assert again.intent is not None
    assert again.intent.outcome == '{"paid": true}'


@pytest.mark.parametrize(
    "other",
    [
        replace(DEMAND, digest="digest-2"),
        replace(DEMAND, user_id="user-2"),
        replace(DEMAND, tool="close"),
    ],
)
async def test_a_granted_id_is_worth_nothing_to_another_call(gate: Gate, intents: Intents, other: Demand) -> None:
    intent = await _asked(gate)
    await intents.grant(intent.id, "terminal")
    assert await gate.resume(other, intent.id) == Passage("mismatch")
    assert (await gate.resume(DEMAND, intent.id)).verdict == "run"


async def test_an_id_that_was_never_given_is_a_mismatch(gate: Gate) -> None:
    assert await gate.resume(DEMAND, "0" * 32) == Passage("mismatch")


@pytest.mark.parametrize("granted", [False, True])
async def test_what_was_not_used_in_time_has_expired(gate: Gate, intents: Intents, clock: Clock, granted: bool) -> None:
    intent = await _asked(gate)
    if granted:
        await intents.grant(intent.id, "terminal")
    clock.advance(GRANT_SECONDS if granted else OPEN_SECONDS)
    assert (await gate.resume(DEMAND, intent.id)).verdict == "expired"
    assert (await gate.decide(intent, yes=True)).verdict == "expired"


async def test_a_no_stays_a_no(gate: Gate) -> None:
    intent = await _asked(gate)
    assert (await gate.decide(intent, yes=False)).verdict == "refused"
    assert (await gate.resume(DEMAND, intent.id)).verdict == "refused"
    assert (await gate.decide(intent, yes=True)).verdict == "refused"


async def test_a_yes_beside_a_yes_elsewhere_runs_once(gate: Gate, intents: Intents) -> None:
    intent = await _asked(gate)
    await intents.grant(intent.id, "terminal")
    assert (await gate.decide(intent, yes=True)).verdict == "run"
    assert (await gate.decide(intent, yes=True)).verdict == "running"


async def test_a_second_yes_after_the_end_gives_the_first_outcome(gate: Gate) -> None:
    intent = await _asked(gate)
    assert (await gate.decide(intent, yes=True)).verdict == "run"
    await gate.finish(intent, '{"failed": true}', ok=False, code="partner.rejected")
    again = await gate.decide(intent, yes=True)
    assert again.verdict == "repeat"
    assert again.intent is not None
    assert again.intent.state == "failed"


@pytest.mark.parametrize("by_decision", [True, False])
async def test_of_fifty_at_once_one_runs(gate: Gate, intents: Intents, by_decision: bool) -> None:
    intent = await _asked(gate)
    if not by_decision:
        await intents.grant(intent.id, "terminal")
    verdicts: list[str] = []

    async def attempt() -> None:
        if by_decision:
            verdicts.append((await gate.decide(intent, yes=True)).verdict)
        else:
            verdicts.append((await gate.resume(DEMAND, intent.id)).verdict)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(attempt)
    assert sorted(verdicts) == ["run"] + ["running"] * 49


async def test_the_operators_standing_yes_runs_at_once_and_is_on_record(store: Store, intents: Intents) -> None:
    gate = wire_guard(store, default_policy("embedded", read_only=False), standing_yes=True).gate
    passage = await gate.ask(DEMAND, Stakes("Pay?"))
    assert passage.verdict == "run"
    assert passage.intent is not None
    current = await intents.get(passage.intent.id)
    assert current is not None
    assert (current.state, current.decided_by) == ("executing", "operator")

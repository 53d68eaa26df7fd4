"""Each way of a decision, and what it is worth: by the policy, by the passphrase, and by the intent itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.approval import Intent
from machines_mcp.permissions.approval_details import Demand, Stakes, Way
from machines_mcp.permissions.channels import Decision
from machines_mcp.permissions.factory import Guard, wire_guard
from machines_mcp.permissions.limits import Limits
from machines_mcp.permissions.policy import Policy, Rule, default_policy
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.database import Store
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

RIGHT, WRONG = Secret("correct horse battery"), Secret("wrong horse battery")
ALL_WAYS: tuple[Way, ...] = ("dialog", "desk", "terminal", "page", "form")
ASK_ALL = dict.fromkeys(Effect, Rule.ASK)


def policy(environment: str = "sandbox", **more: Any) -> Policy:
    real = environment == "production"
    known = default_policy(environment, read_only=False)
    return replace(
        known, rules=ASK_ALL, why="", dialog=frozenset({Effect.WRITE}) if real else frozenset(Effect), **more
    )


async def secured(store: Store, clock: Clock, environment: str = "sandbox", **more: Any) -> Guard:
    """A guard whose passphrase is set."""
    guard = wire_guard(store, policy(environment, **more), clock=clock)
    assert await guard.passphrase.set(RIGHT) == "right"
    return guard


async def ask(guard: Guard, effect: Effect = Effect.MONEY, digest: str = "d1", **stakes: Any) -> Intent:
    return await guard.intents.open(Demand("pay", effect, "user-1", digest), Stakes("Pay?", **stakes))


async def state(guard: Guard, intent: Intent) -> str:
    found = await guard.intents.get(intent.id)
    assert found is not None
    return found.state


GRANTS: list[Any] = [
    ("embedded", Effect.MONEY, None, {"dialog", "desk", "terminal"}),
    ("sandbox", Effect.MONEY, None, {"dialog", "desk", "terminal"}),
    ("production", Effect.WRITE, None, {"dialog", "desk", "terminal"}),
    *[
        ("production", effect, None, {"desk", "terminal"})
        for effect in (Effect.MONEY, Effect.IDENTITY, Effect.CONSENT, Effect.DESTROY, Effect.REVEAL)
    ],
    ("embedded", Effect.REVEAL, "model", {"dialog", "desk", "terminal"}),
    ("sandbox", Effect.REVEAL, "model", {"desk", "terminal"}),
    ("sandbox", Effect.REVEAL, "sealed", {"dialog", "desk", "terminal"}),
    ("production", Effect.REVEAL, "model", {"desk", "terminal"}),
]


@pytest.mark.parametrize(("environment", "effect", "sink", "ways"), GRANTS)
async def test_only_the_ways_of_the_policy_grant(
    environment: str, effect: Effect, sink: str | None, ways: set[Way], store: Store, clock: Clock
) -> None:
    sinks = frozenset({"none", "page", "sealed", "model"})
    guard = await secured(store, clock, environment, sinks=sinks)
    granted = set()
    for way in ALL_WAYS:
        intent = await ask(guard, effect, digest=way, sink=sink)
        open_to = await guard.ways.open_to(intent, way)
        decision = await guard.ways.grant(intent.id, way, RIGHT)
        assert decision == ("granted" if open_to else "not_allowed")
        assert await state(guard, intent) == ("granted" if open_to else "waiting")
        if open_to:
            granted.add(way)
    assert granted - {"form"} == ways


@pytest.mark.parametrize("way", ALL_WAYS)
async def test_without_a_passphrase_set_no_way_decides_outside_embedded(way: Way, store: Store, clock: Clock) -> None:
    guard = wire_guard(store, policy("sandbox"), clock=clock)
    only: dict[Way, Any] = {"page": "page", "form": "form"}
    intent = await ask(guard, only=only.get(way), sink="page" if way == "page" else None)
    assert not await guard.ways.usable()
    assert not await guard.ways.open_to(intent, way)
    decisions: list[Decision] = [await guard.ways.refuse(intent.id, way, RIGHT), await guard.ways.unlock(RIGHT)]
    if way == "page" or way == "form":
        decisions.append(await guard.ways.take(intent.id, way, RIGHT))
    else:
        decisions.append(await guard.ways.grant(intent.id, way, RIGHT))
    assert decisions == ["unset"] * 3
    assert await state(guard, intent) == "waiting"


@pytest.mark.parametrize("way", ["desk", "terminal"])
@pytest.mark.parametrize("given", [None, WRONG, Secret("")])
async def test_desk_and_terminal_decide_nothing_without_the_right_passphrase(
    way: Way, given: Secret | None, store: Store, clock: Clock
) -> None:
    guard = await secured(store, clock)
    intent = await ask(guard)
    assert await guard.ways.grant(intent.id, way, given) == "wrong"
    assert await guard.ways.refuse(intent.id, way, given) == "wrong"
    assert await guard.ways.unlock(given) == "wrong"
    assert await state(guard, intent) == "waiting"
    assert await guard.ways.grant(intent.id, way, WRONG) == "wrong"
    assert await guard.ways.grant(intent.id, way, WRONG) == "locked"
    assert await guard.ways.grant(intent.id, way, RIGHT) == "locked"
    assert await state(guard, intent) == "waiting"


async def test_in_embedded_nobody_needs_a_passphrase_even_where_one_is_set(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock, "embedded")
    for way in ALL_WAYS[:3]:
        assert await guard.ways.grant((await ask(guard, digest=way)).id, way) == "granted"
    assert await guard.ways.unlock(None) == "granted"


async def test_the_passphrase_is_not_looked_at_for_what_can_not_be_decided_anyway(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock)
    page = await ask(guard, only="page", sink="page", effect=Effect.REVEAL)
    for _ in range(10):
        assert await guard.ways.grant("0" * 32, "terminal", WRONG) == "gone"
        assert await guard.ways.grant(page.id, "terminal", WRONG) == "not_allowed"
    assert not await guard.passphrase.locked()


@pytest.mark.parametrize(("only", "sink"), [("page", "page"), ("form", None)])
async def test_what_its_own_page_does_is_granted_there_alone_and_begun_in_the_same_moment(
    only: Any, sink: str | None, store: Store, clock: Clock
) -> None:
    guard = await secured(store, clock)
    intent = await ask(guard, Effect.REVEAL if sink else Effect.IDENTITY, only=only, sink=sink)
    for way in ALL_WAYS:
        assert await guard.ways.grant(intent.id, way, RIGHT) == "not_allowed"
    other: Any = "form" if only == "page" else "page"
    assert await guard.ways.take(intent.id, other, RIGHT) == "not_allowed"
    taken = [await guard.ways.take(intent.id, only, RIGHT) for _ in range(3)]
    assert taken == ["granted", "gone", "gone"]
    assert await state(guard, intent) == "executing"


async def test_an_ordinary_intent_is_not_taken_by_a_page(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock)
    intent = await ask(guard)
    assert await guard.ways.take(intent.id, "page", RIGHT) == "not_allowed"
    assert await guard.ways.take(intent.id, "form", RIGHT) == "not_allowed"
    assert await state(guard, intent) == "waiting"


async def test_a_form_needs_the_passphrase_of_whoever_sends_it(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock)
    intent = await ask(guard, Effect.IDENTITY, only="form")
    assert await guard.ways.take(intent.id, "form", WRONG) == "wrong"
    assert await guard.ways.take(intent.id, "form", None) == "wrong"
    assert await state(guard, intent) == "waiting"


async def test_a_limit_that_is_used_up_meanwhile_bars_a_page_and_leaves_it_waiting(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock, limits=Limits(reveals_per_card_per_day=1, unbounded_cards=True))
    first = await ask(guard, Effect.REVEAL, digest="d1", only="page", sink="page", card_id="card-1")
    # Opened beside it, as by a server that did not see it.
    await store.run(lambda db: db.execute("UPDATE intents SET card_id = 'card-2' WHERE id = ?", (first.id,)))
    second = await ask(guard, Effect.REVEAL, digest="d2", only="page", sink="page", card_id="card-1")
    await store.run(lambda db: db.execute("UPDATE intents SET card_id = 'card-1' WHERE id = ?", (first.id,)))
    assert await guard.ways.take(first.id, "page") == "barred"
    assert await state(guard, first) == "waiting"
    await guard.intents.refuse(second.id, "page")
    assert await guard.ways.take(first.id, "page") == "granted"


async def test_another_policy_ends_what_waits(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock)
    waiting, granted = await ask(guard, digest="d1"), await ask(guard, digest="d2")
    assert await guard.ways.grant(granted.id, "terminal", RIGHT) == "granted"
    other = wire_guard(store, policy(limits=Limits(per_call_cents=1, unbounded_cards=True)), clock=clock)
    assert other.policy.digest != guard.policy.digest
    assert await other.ways.waiting() == []
    assert await other.ways.get(waiting.id) is None
    assert await other.ways.grant(waiting.id, "terminal", RIGHT) == "gone"
    assert await other.ways.refuse(waiting.id, "terminal", RIGHT) == "gone"
    demand = [Demand("pay", Effect.MONEY, "user-1", digest) for digest in ("d1", "d2")]
    assert (await other.gate.resume(demand[0], waiting.id)).verdict == "expired"
    assert (await other.gate.resume(demand[1], granted.id)).verdict == "expired"
    assert not await other.intents.consume(granted)
    assert (await ask(other, digest="d1")).id != waiting.id
    # Under its own policy it goes on as before.
    assert (await guard.gate.resume(demand[1], granted.id)).verdict == "run"
    assert await guard.ways.grant(waiting.id, "terminal", RIGHT) == "granted"

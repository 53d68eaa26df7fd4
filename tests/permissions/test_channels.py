"""Approval channels: which may approve, by the policy, the passphrase and the approval itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest, Channel
from machines_mcp.permissions.decision import Decision
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.passphrase_tries import MAX_DELAY_SECONDS
from machines_mcp.permissions.policy import Limits, Policy, Rule, default_policy
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

RIGHT, WRONG = Secret("correct horse battery"), Secret("wrong horse battery")
ALL_WAYS: tuple[Channel, ...] = ("dialog", "desk", "terminal", "page", "form")
ASK_ALL = dict.fromkeys(ActionClass, Rule.ASK)


def policy(environment: str = "sandbox", **more: Any) -> Policy:
    real = environment == "production"
    known = default_policy(environment, read_only=False)
    return replace(
        known, rules=ASK_ALL, why="", dialog=frozenset({ActionClass.WRITE}) if real else frozenset(ActionClass), **more
    )


async def secured(store: Store, clock: Clock, environment: str = "sandbox", **more: Any) -> Guard:
    """Return a guard whose passphrase is set."""
    guard = build_guard(store, policy(environment, **more), ANY_USER, clock=clock)
    assert await guard.passphrase.set(RIGHT) == "right"
    return guard


async def ask(
    guard: Guard, action_class: ActionClass = ActionClass.MONEY, digest: str = "d1", **details: Any
) -> Approval:
    return await guard.approvals.open(
        CallRequest("pay", action_class, "user-1", digest), ApprovalDetails("Pay?", **details)
    )


async def state(guard: Guard, approval: Approval) -> str:
    found = await guard.approvals.get(approval.id)
    assert found is not None
    return found.state


GRANTS: list[Any] = [
    ("embedded", ActionClass.MONEY, None, {"dialog", "desk", "terminal"}),
    ("sandbox", ActionClass.MONEY, None, {"dialog", "desk", "terminal"}),
    ("production", ActionClass.WRITE, None, {"dialog", "desk", "terminal"}),
    *[
        ("production", action_class, None, {"desk", "terminal"})
        for action_class in (
            ActionClass.MONEY,
            ActionClass.IDENTITY,
            ActionClass.CONSENT,
            ActionClass.DESTROY,
            ActionClass.REVEAL,
        )
    ],
    ("embedded", ActionClass.REVEAL, "model", {"dialog", "desk", "terminal"}),
    ("sandbox", ActionClass.REVEAL, "model", {"desk", "terminal"}),
    ("sandbox", ActionClass.REVEAL, "sealed", {"dialog", "desk", "terminal"}),
    ("production", ActionClass.REVEAL, "model", {"desk", "terminal"}),
]


@pytest.mark.parametrize(("environment", "action_class", "sink", "channels"), GRANTS)
async def test_only_the_policys_channels_can_approve(
    environment: str, action_class: ActionClass, sink: str | None, channels: set[Channel], store: Store, clock: Clock
) -> None:
    sinks = frozenset({"none", "page", "sealed", "model"})
    guard = await secured(store, clock, environment, sinks=sinks)
    granted = set()
    for channel in ALL_WAYS:
        approval = await ask(guard, action_class, digest=channel, sink=sink)
        open_to = await guard.channels.can_approve(approval, channel)
        decision = await guard.channels.grant(approval.id, channel, RIGHT)
        assert decision == ("granted" if open_to else "not_allowed")
        assert await state(guard, approval) == ("granted" if open_to else "waiting")
        if open_to:
            granted.add(channel)
    assert granted - {"form"} == channels


@pytest.mark.parametrize("channel", ALL_WAYS)
async def test_without_a_passphrase_no_channel_approves_outside_embedded(
    channel: Channel, store: Store, clock: Clock
) -> None:
    guard = build_guard(store, policy("sandbox"), ANY_USER, clock=clock)
    only: dict[Channel, Any] = {"page": "page", "form": "form"}
    approval = await ask(guard, only=only.get(channel), sink="page" if channel == "page" else None)
    assert not await guard.channels.ready()
    assert not await guard.channels.can_approve(approval, channel)
    decisions: list[Decision] = [
        await guard.channels.refuse(approval.id, channel, RIGHT),
        await guard.channels.check_passphrase(RIGHT),
    ]
    if channel == "page" or channel == "form":
        decisions.append(await guard.channels.grant_and_consume(approval.id, channel, RIGHT))
    else:
        decisions.append(await guard.channels.grant(approval.id, channel, RIGHT))
    assert decisions == ["unset"] * 3
    assert await state(guard, approval) == "waiting"


@pytest.mark.parametrize("channel", ["desk", "terminal"])
@pytest.mark.parametrize("given", [None, WRONG, Secret("")])
async def test_desk_and_terminal_require_the_right_passphrase(
    channel: Channel, given: Secret | None, store: Store, clock: Clock
) -> None:
    guard = await secured(store, clock)
    approval = await ask(guard)
    assert await guard.channels.grant(approval.id, channel, given) == "wrong"
    assert await guard.channels.grant(approval.id, channel, RIGHT) == "delayed"
    clock.advance(MAX_DELAY_SECONDS)
    assert await guard.channels.refuse(approval.id, channel, given) == "wrong"
    assert await guard.channels.refuse(approval.id, channel, RIGHT) == "delayed"
    clock.advance(MAX_DELAY_SECONDS)
    assert await guard.channels.check_passphrase(given) == "wrong"
    assert await state(guard, approval) == "waiting"


async def test_a_signed_in_person_refuses_without_a_try(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock)
    approval = await ask(guard)
    assert await guard.channels.grant(approval.id, "desk", WRONG) == "wrong"
    assert await guard.channels.refuse(approval.id, "desk", RIGHT) == "delayed"
    assert await guard.channels.refuse(approval.id, "desk", signed_in=True) == "refused"
    assert await state(guard, approval) == "refused"
    assert await guard.channels.refuse(approval.id, "desk", signed_in=True) == "gone"


async def test_embedded_requires_no_passphrase_even_if_one_is_set(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock, "embedded")
    for channel in ALL_WAYS[:3]:
        assert await guard.channels.grant((await ask(guard, digest=channel)).id, channel) == "granted"
    assert await guard.channels.check_passphrase(None) == "granted"


async def test_passphrase_is_not_checked_for_an_undecidable_approval(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock)
    page = await ask(guard, only="page", sink="page", action_class=ActionClass.REVEAL)
    for _ in range(10):
        assert await guard.channels.grant("0" * 32, "terminal", WRONG) == "gone"
        assert await guard.channels.grant(page.id, "terminal", WRONG) == "not_allowed"
    assert await guard.passphrase.tries.wait("terminal") == 0


@pytest.mark.parametrize(("only", "sink"), [("page", "page"), ("form", None)])
async def test_page_approval_is_granted_only_there_and_begins_immediately(
    only: Any, sink: str | None, store: Store, clock: Clock
) -> None:
    guard = await secured(store, clock)
    approval = await ask(guard, ActionClass.REVEAL if sink else ActionClass.IDENTITY, only=only, sink=sink)
    for channel in ALL_WAYS:
        assert await guard.channels.grant(approval.id, channel, RIGHT) == "not_allowed"
    other: Any = "form" if only == "page" else "page"
    assert await guard.channels.grant_and_consume(approval.id, other, RIGHT) == "not_allowed"
    taken = [await guard.channels.grant_and_consume(approval.id, only, RIGHT) for _ in range(3)]
    assert taken == ["granted", "gone", "gone"]
    assert await state(guard, approval) == "executing"


async def test_page_does_not_take_an_ordinary_approval(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock)
    approval = await ask(guard)
    assert await guard.channels.grant_and_consume(approval.id, "page", RIGHT) == "not_allowed"
    assert await guard.channels.grant_and_consume(approval.id, "form", RIGHT) == "not_allowed"
    assert await state(guard, approval) == "waiting"


async def test_form_requires_the_passphrase(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock)
    approval = await ask(guard, ActionClass.IDENTITY, only="form")
    assert await guard.channels.grant_and_consume(approval.id, "form", WRONG) == "wrong"
    clock.advance(MAX_DELAY_SECONDS)
    assert await guard.channels.grant_and_consume(approval.id, "form", None) == "wrong"
    assert await state(guard, approval) == "waiting"


async def test_limit_reached_meanwhile_blocks_a_page_and_keeps_it_waiting(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock, limits=Limits(reveals_per_card_per_day=1, unbounded_cards=True))
    first = await ask(guard, ActionClass.REVEAL, digest="d1", only="page", sink="page", card_id="card-1")
    # Opened concurrently, as by a server that did not see the first.
    await store.run(lambda db: db.execute("UPDATE approvals SET card_id = 'card-2' WHERE id = ?", (first.id,)))
    second = await ask(guard, ActionClass.REVEAL, digest="d2", only="page", sink="page", card_id="card-1")
    await store.run(lambda db: db.execute("UPDATE approvals SET card_id = 'card-1' WHERE id = ?", (first.id,)))
    assert await guard.channels.grant_and_consume(second.id, "page") == "granted"
    assert await guard.channels.grant_and_consume(first.id, "page") == "limit_exceeded"
    assert await state(guard, first) == "waiting"
    await guard.approvals.finish(second.id, '{"code": "reveal.failed"}', ok=False, code="reveal.failed")
    assert await guard.channels.grant_and_consume(first.id, "page") == "granted"


async def test_total_that_others_used_up_blocks_a_grant_and_keeps_it_waiting(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock, limits=Limits(per_day_cents=100))
    first = await ask(guard, digest="d1", amount_cents=60)
    other = CallRequest("pay", ActionClass.MONEY, "user-2", "d2")
    second = await guard.approvals.open(other, ApprovalDetails("?", amount_cents=60))
    assert await guard.channels.grant(second.id, "terminal", RIGHT) == "granted"
    assert await guard.channels.grant(first.id, "terminal", RIGHT) == "limit_exceeded"
    assert await state(guard, first) == "waiting"
    assert [row.verdict for row in await guard.audit.rows(ANY_USER, kind="decision")] == ["granted"]


async def test_policy_change_ends_waiting_approvals(store: Store, clock: Clock) -> None:
    guard = await secured(store, clock)
    waiting, granted = await ask(guard, digest="d1"), await ask(guard, digest="d2")
    assert await guard.channels.grant(granted.id, "terminal", RIGHT) == "granted"
    other = build_guard(store, policy(limits=Limits(per_call_cents=1, unbounded_cards=True)), ANY_USER, clock=clock)
    assert other.policy.digest != guard.policy.digest
    assert await other.channels.waiting() == []
    assert await other.channels.get(waiting.id) is None
    assert await other.channels.grant(waiting.id, "terminal", RIGHT) == "gone"
    assert await other.channels.refuse(waiting.id, "terminal", RIGHT) == "gone"
    call_request = [CallRequest("pay", ActionClass.MONEY, "user-1", digest) for digest in ("d1", "d2")]
    assert (await other.authorizer.resume(call_request[0], waiting.id)).verdict == "expired"
    assert (await other.authorizer.resume(call_request[1], granted.id)).verdict == "expired"
    assert not await other.approvals.consume(granted)
    assert (await ask(other, digest="d1")).id != waiting.id
    # Under its own policy it continues.
    assert (await guard.authorizer.resume(call_request[1], granted.id)).verdict == "run"
    assert await guard.channels.grant(waiting.id, "terminal", RIGHT) == "granted"

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.approval import Intent, arguments_digest
from machines_mcp.permissions.approval_details import Demand, Fact, Stakes
from machines_mcp.permissions.approvals import GRANT_SECONDS, OPEN_SECONDS, Intents
from machines_mcp.permissions.cooldown import Barred
from machines_mcp.permissions.factory import Guard, wire_guard
from machines_mcp.permissions.limits import Limits
from machines_mcp.permissions.policy import default_policy
from machines_mcp.storage.database import Store, StoreUnavailable
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

KEY = b"k" * 32


@pytest.fixture
def intents(guard: Guard) -> Intents:
    return guard.intents


@pytest.fixture
async def elsewhere(tmp_path: Path, clock: Clock) -> AsyncIterator[Intents]:
    """The same intents as another server on the same folder sees them."""
    other = Store(tmp_path / "state")
    yield wire_guard(other, default_policy("embedded", read_only=False), clock=clock).intents
    await other.close()


async def _open(intents: Intents, *, digest: str = "d1", question: str = "Pay?", user: str = "user-1") -> Intent:
    return await intents.open(Demand("pay", Effect.MONEY, user, digest), Stakes(question))


async def _now(intents: Intents, intent: Intent) -> Intent:
    current = await intents.get(intent.id)
    assert current is not None
    return current


def test_equal_arguments_have_equal_digests_in_any_order() -> None:
    assert arguments_digest(KEY, {"a": 1, "b": [2, None]}) == arguments_digest(KEY, {"b": [2, None], "a": 1})


@pytest.mark.parametrize(
    "other", [{"a": 1}, {"a": 1, "b": 3}, {"a": 1, "b": "2"}, {"a": "1", "b": 2}, {"b": 1, "a": 2}, {}]
)
def test_other_arguments_have_another_digest(other: dict[str, object]) -> None:
    assert arguments_digest(KEY, other) != arguments_digest(KEY, {"a": 1, "b": 2})


def test_the_digest_is_keyed_so_that_few_values_cannot_be_guessed_back() -> None:
    assert arguments_digest(KEY, {"a": 1}) != arguments_digest(b"l" * 32, {"a": 1})


async def test_the_dialog_shows_the_question_what_is_remarkable_and_who_asked(intents: Intents) -> None:
    facts = (Fact("To", "0x1", "the first withdrawal to this destination"), Fact("From", "0x2"))
    demand = Demand("pay", Effect.MONEY, "user-1", "d1", "agent 1.0")
    intent = await intents.open(demand, Stakes("Pay?", facts=facts))
    assert (await _now(intents, intent)).dialog.splitlines() == [
        "Pay?",
        "To: the first withdrawal to this destination.",
        "Asked by “agent 1.0” (as it calls itself).",
    ]
    assert (await _open(intents)).dialog == "Pay?\nAsked by a program that gave no name."


async def test_ids_are_128_bits_of_chance(intents: Intents) -> None:
    ids = {(await _open(intents, digest=str(n))).id for n in range(20)}
    assert len(ids) == 20
    assert all(len(bytes.fromhex(found)) == 16 for found in ids)


async def test_while_an_equal_call_waits_its_id_is_given_again(intents: Intents, elsewhere: Intents) -> None:
    first = await _open(intents)
    assert (await _open(intents)).id == first.id
    assert (await _open(elsewhere)).id == first.id


@pytest.mark.parametrize("change", [{"digest": "d2"}, {"question": "Pay more?"}, {"user": "user-2"}])
async def test_another_call_is_another_intent(intents: Intents, change: dict[str, str]) -> None:
    first = await _open(intents)
    assert (await _open(intents, **change)).id != first.id


async def test_an_intent_that_no_longer_waits_is_not_given_again(intents: Intents, clock: Clock) -> None:
    granted, refused, late = [await _open(intents, digest=d) for d in ("d1", "d2", "d3")]
    await intents.grant(granted.id, "terminal")
    await intents.refuse(refused.id, "terminal")
    assert (await _open(intents, digest="d1")).id != granted.id
    assert (await _open(intents, digest="d2")).id != refused.id
    clock.advance(OPEN_SECONDS)
    assert (await _open(intents, digest="d3")).id != late.id


async def test_an_intent_can_be_granted_for_fifteen_minutes(intents: Intents, clock: Clock) -> None:
    early, late = await _open(intents, digest="d1"), await _open(intents, digest="d2")
    clock.advance(OPEN_SECONDS - 1)
    assert await intents.grant(early.id, "terminal")
    clock.advance(1)
    assert not await intents.grant(late.id, "terminal")
    assert intents.expired(await _now(intents, late))


async def test_a_grant_can_be_used_for_five_minutes(intents: Intents, clock: Clock) -> None:
    early, late = await _open(intents, digest="d1"), await _open(intents, digest="d2")
    await intents.grant(early.id, "terminal")
    await intents.grant(late.id, "terminal")
    clock.advance(GRANT_SECONDS - 1)
    assert await intents.consume(early)
    clock.advance(1)
    assert not await intents.consume(late)
    assert intents.expired(await _now(intents, late))


async def test_a_refusal_stays(intents: Intents) -> None:
    intent = await _open(intents)
    assert await intents.refuse(intent.id, "dialog")
    assert not await intents.grant(intent.id, "terminal")
    assert not await intents.consume(intent)
    assert (await _now(intents, intent)).state == "refused"
    assert (await _now(intents, intent)).decided_by == "dialog"


async def test_what_runs_or_ran_can_no_longer_be_refused(intents: Intents) -> None:
    intent = await _open(intents)
    await intents.grant(intent.id, "terminal")
    await intents.consume(intent)
    assert not await intents.refuse(intent.id, "terminal")
    assert not await intents.grant(intent.id, "terminal")


async def test_only_a_grant_can_be_consumed_and_only_once_by_two_servers(intents: Intents, elsewhere: Intents) -> None:
    intent = await _open(intents)
    assert not await intents.consume(intent)
    await intents.grant(intent.id, "terminal")
    taken: list[bool] = []

    async def take(by: Intents) -> None:
        taken.append(await by.consume(intent))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(25):
                tasks.start_soon(take, intents)
                tasks.start_soon(take, elsewhere)
    assert sum(taken) == 1
    assert len(taken) == 50


@pytest.mark.parametrize("change", [{"digest": "d2"}, {"user_id": "user-2"}])
async def test_a_grant_is_not_consumed_for_another_call(intents: Intents, change: dict[str, str]) -> None:
    intent = await _open(intents)
    await intents.grant(intent.id, "terminal")
    assert not await intents.consume(replace(intent, **change))  # type: ignore[arg-type]


async def test_the_first_outcome_stays(intents: Intents) -> None:
    intent = await _open(intents)
    await intents.finish(intent.id, '"too early"', ok=True, code="ok")
    await intents.grant(intent.id, "terminal")
    await intents.consume(intent)
    await intents.finish(intent.id, '"first"', ok=True, code="ok")
    await intents.finish(intent.id, '"second"', ok=False, code="partner.rejected")
    current = await _now(intents, intent)
    assert (current.state, current.outcome) == ("done", '"first"')


async def test_what_waits_is_listed_oldest_first_and_nothing_else(intents: Intents, clock: Clock) -> None:
    late = await _open(intents, digest="late")
    clock.advance(OPEN_SECONDS - 10)
    first = await _open(intents, digest="first")
    clock.advance(20)
    second = await _open(intents, digest="second")
    granted = await _open(intents, digest="granted")
    await intents.grant(granted.id, "terminal")
    assert [i.id for i in await intents.waiting()] == [first.id, second.id]
    assert late.id not in [i.id for i in await intents.waiting()]


async def test_a_grant_that_was_given_back_can_be_used_again_for_the_rest_of_its_time(
    intents: Intents, clock: Clock
) -> None:
    intent = await _open(intents)
    await intents.grant(intent.id, "terminal")
    for _ in range(2):
        clock.advance(GRANT_SECONDS / 2 - 1)
        assert await intents.consume(intent)
        await intents.give_back(intent.id)
    clock.advance(2)
    assert not await intents.consume(intent)
    assert intents.expired(await _now(intents, intent))


@pytest.mark.parametrize("state", ["waiting", "refused", "done"])
async def test_only_what_runs_can_be_given_back(intents: Intents, state: str) -> None:
    intent = await _open(intents)
    if state == "refused":
        await intents.refuse(intent.id, "terminal")
    if state == "done":
        await intents.grant(intent.id, "terminal")
        await intents.consume(intent)
        await intents.finish(intent.id, "{}", ok=True, code="ok")
    await intents.give_back(intent.id)
    assert (await _now(intents, intent)).state == state


# A pause


async def _refused(intents: Intents, clock: Clock, *after: float, tool: str = "pay") -> None:
    """Refusals of a tool, each so many seconds after the one before."""
    for seconds in after:
        clock.advance(seconds)
        intent = await intents.open(Demand(tool, Effect.MONEY, "user-1", f"{tool}-{clock.now}"), Stakes("Pay?"))
        assert await intents.refuse(intent.id, "dialog")


async def test_after_three_refusals_in_ten_minutes_nobody_is_asked_for_fifteen(intents: Intents, clock: Clock) -> None:
    waiting = await _open(intents, digest="waits since before")
    await _refused(intents, clock, 0, 300, 300)
    until = clock.now + 15 * 60
    for seconds in (0, 1, 15 * 60 - 2):
        clock.advance(seconds)
        for digest in ("another", "waits since before"):
            with pytest.raises(Barred) as barred:
                await _open(intents, digest=digest)
            assert (barred.value.code, barred.value.until) == ("paused", until)
    clock.advance(1)
    await _open(intents, digest="another")
    assert waiting.id not in [intent.id for intent in await intents.waiting()]


async def test_another_tool_another_state_or_fewer_refusals_do_not_pause(intents: Intents, clock: Clock) -> None:
    await _refused(intents, clock, 0, 0)
    await _refused(intents, clock, 0, 0, 0, tool="other")
    granted = await _open(intents, digest="granted")
    await intents.grant(granted.id, "terminal")
    await _open(intents)


async def test_refusals_that_are_further_apart_do_not_pause(intents: Intents, clock: Clock) -> None:
    await _refused(intents, clock, 0, 301, 300, 301, 300)
    await _open(intents)


async def test_a_pause_does_not_keep_a_person_from_deciding_what_waits(intents: Intents, clock: Clock) -> None:
    waiting = await _open(intents)
    await _refused(intents, clock, 0, 0, 0)
    assert await intents.grant(waiting.id, "terminal")
    assert await intents.consume(waiting)


# What nobody is asked about


async def test_what_the_policy_allows_is_taken_at_once_and_no_one_is_asked(intents: Intents, guard: Guard) -> None:
    demand = Demand("pay", Effect.MONEY, "user-1", "d1")
    first, second = [await intents.open_taken(demand, Stakes("Pay?", amount_cents=5), "policy") for _ in range(2)]
    assert first.id != second.id
    current = await _now(intents, first)
    assert (current.state, current.decided_by, current.amount_cents) == ("executing", "policy", 5)
    assert await intents.waiting() == []
    rows = [row for row in await guard.audit.rows() if row.intent_id == first.id]
    assert [(row.kind, row.verdict, row.by) for row in rows] == [
        ("decision", "granted", "policy"),
        ("call", "executing", "policy"),
    ]


async def test_refusals_of_a_person_do_not_pause_what_the_policy_allows(intents: Intents, clock: Clock) -> None:
    await _refused(intents, clock, 0, 0, 0)
    await intents.open_taken(Demand("pay", Effect.MONEY, "user-1", "d1"), Stakes("Pay?"), "policy")


# Limits


@pytest.fixture
def limited(store: Store, clock: Clock) -> Guard:
    """At most 1,000 cents a day."""
    policy = replace(default_policy("embedded", read_only=False), limits=Limits(per_day_cents=1000))
    return wire_guard(store, policy, clock=clock)


def _paying(digest: str, cents: int) -> tuple[Demand, Stakes]:
    return Demand("pay", Effect.MONEY, "user-1", digest), Stakes("Pay?", amount_cents=cents)


async def test_a_limit_is_judged_when_the_person_is_asked(limited: Guard, store: Store) -> None:
    await limited.intents.open(*_paying("d1", 600))
    with pytest.raises(Barred, match=r"withdrawals\.per_day_cents"):
        await limited.intents.open(*_paying("d2", 401))
    await limited.intents.open(*_paying("d3", 400))
    assert len(await limited.intents.waiting()) == 2


async def test_a_limit_is_judged_again_when_the_grant_is_used_and_the_grant_stays(limited: Guard, store: Store) -> None:
    intents = limited.intents
    first, second = await intents.open(*_paying("d1", 500)), await intents.open(*_paying("d2", 500))
    for intent in (first, second):
        await intents.grant(intent.id, "terminal")
    assert await intents.consume(first)
    # As by another server whose policy allows more: what is spent now is above what this one allows.
    await store.run(lambda db: db.execute("UPDATE intents SET amount_cents = 501 WHERE id = ?", (first.id,)))
    with pytest.raises(Barred, match=r"withdrawals\.per_day_cents"):
        await intents.consume(second)
    assert (await _now(intents, second)).state == "granted"
    assert [row.intent_id for row in await limited.audit.rows(kind="call")] == [first.id]
    await store.run(lambda db: db.execute("UPDATE intents SET amount_cents = 500 WHERE id = ?", (first.id,)))
    assert await intents.consume(second)


async def test_of_many_at_once_no_more_than_the_limit_are_taken(limited: Guard) -> None:
    taken: list[str] = []

    async def pay(number: int) -> None:
        with suppress(Barred):
            taken.append((await limited.intents.open_taken(*_paying(str(number), 300), "policy")).id)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(pay, number)
    assert len(taken) == 3


# The audit


async def test_each_change_of_a_row_has_its_line_and_stands_or_falls_with_it(
    intents: Intents, guard: Guard, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = await _open(intents)
    changes: list[tuple[Callable[[], Awaitable[object]], str, tuple[str, str | None, str | None]]] = [
        (lambda: intents.grant(intent.id, "desk"), "granted", ("decision", "granted", "desk")),
        (lambda: intents.consume(intent), "executing", ("call", "executing", "desk")),
        (lambda: intents.give_back(intent.id), "granted", ("outcome", "not_begun", "desk")),
        (lambda: intents.consume(intent), "executing", ("call", "executing", "desk")),
        (lambda: intents.finish(intent.id, "{}", ok=True, code="ok"), "done", ("outcome", "done", "desk")),
    ]
    before = "waiting"
    for change, after, line in changes:
        with monkeypatch.context() as broken:
            broken.setattr(intents, "_record", _fails)
            with pytest.raises(StoreUnavailable):
                await change()
        assert (await _now(intents, intent)).state == before
        await change()
        assert (await _now(intents, intent)).state == after
        last = (await guard.audit.rows(newest_first=True, limit=1))[0]
        assert (last.kind, last.verdict, last.by, last.intent_id) == (*line, intent.id)
        before = after
    other = await _open(intents, digest="d2")
    with monkeypatch.context() as broken:
        broken.setattr(intents, "_record", _fails)
        with pytest.raises(StoreUnavailable):
            await _open(intents, digest="d3")
        with pytest.raises(StoreUnavailable):
            await intents.refuse(other.id, "terminal")
    assert [waiting.id for waiting in await intents.waiting()] == [other.id]


def _fails(db: object, entry: object) -> None:
    raise StoreUnavailable

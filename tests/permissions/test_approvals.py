from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval, arguments_digest
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest, Detail
from machines_mcp.permissions.approvals import GRANT_SECONDS, OPEN_SECONDS, ApprovalStore
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import Limits, default_policy
from machines_mcp.storage.database import Store, StoreUnavailable
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

KEY = b"k" * 32


@pytest.fixture
def approvals(guard: Guard) -> ApprovalStore:
    return guard.approvals


@pytest.fixture
async def other_server(tmp_path: Path, clock: Clock) -> AsyncIterator[ApprovalStore]:
    """Return the same approvals as another server on the folder sees them."""
    other = Store(tmp_path / "state")
    yield build_guard(other, default_policy("embedded", read_only=False), ANY_USER, clock=clock).approvals
    await other.close()


async def _open(
    approvals: ApprovalStore, *, digest: str = "d1", question: str = "Pay?", user: str = "user-1"
) -> Approval:
    return await approvals.open(CallRequest("pay", ActionClass.MONEY, user, digest), ApprovalDetails(question))


async def _reloaded(approvals: ApprovalStore, approval: Approval) -> Approval:
    current = await approvals.get(approval.id)
    assert current is not None
    return current


def test_argument_order_does_not_change_the_digest() -> None:
    assert arguments_digest(KEY, {"a": 1, "b": [2, None]}) == arguments_digest(KEY, {"b": [2, None], "a": 1})


@pytest.mark.parametrize(
    "other", [{"a": 1}, {"a": 1, "b": 3}, {"a": 1, "b": "2"}, {"a": "1", "b": 2}, {"b": 1, "a": 2}, {}]
)
def test_other_arguments_have_another_digest(other: dict[str, object]) -> None:
    assert arguments_digest(KEY, other) != arguments_digest(KEY, {"a": 1, "b": 2})


def test_digest_is_keyed_against_guessing() -> None:
    assert arguments_digest(KEY, {"a": 1}) != arguments_digest(b"l" * 32, {"a": 1})


async def test_dialog_shows_question_every_detail_and_client(approvals: ApprovalStore) -> None:
    page = "https://docs.example/terms"
    items = (
        Detail("To", "0x1", "the first withdrawal to this destination"),
        Detail("From", "0x2"),
        Detail("Document", "Terms", url=page),
        Detail("Document", page, url=page),
    )
    call_request = CallRequest("pay", ActionClass.MONEY, "user-1", "d1", "agent 1.0")
    approval = await approvals.open(call_request, ApprovalDetails("Pay?", items=items))
    assert (await _reloaded(approvals, approval)).dialog().splitlines() == [
        "Pay?",
        "To: 0x1 (the first withdrawal to this destination)",
        "From: 0x2",
        f"Document: Terms {page}",
        f"Document: {page}",
        "Asked by “agent 1.0” (self-reported name).",
    ]
    assert (await _open(approvals)).dialog() == "Pay?\nAsked by an unnamed program."


async def test_ids_are_128_random_bits(approvals: ApprovalStore) -> None:
    ids = {(await _open(approvals, digest=str(n))).id for n in range(20)}
    assert len(ids) == 20
    assert all(len(bytes.fromhex(found)) == 16 for found in ids)


async def test_equal_pending_call_returns_the_same_id(approvals: ApprovalStore, other_server: ApprovalStore) -> None:
    first = await _open(approvals)
    assert (await _open(approvals)).id == first.id
    assert (await _open(other_server)).id == first.id


@pytest.mark.parametrize("change", [{"digest": "d2"}, {"question": "Pay more?"}, {"user": "user-2"}])
async def test_different_call_gets_another_approval(approvals: ApprovalStore, change: dict[str, str]) -> None:
    first = await _open(approvals)
    assert (await _open(approvals, **change)).id != first.id


async def test_approval_that_no_longer_waits_is_not_reused(approvals: ApprovalStore, clock: Clock) -> None:
    granted, refused, late = [await _open(approvals, digest=d) for d in ("d1", "d2", "d3")]
    await approvals.grant(granted.id, "terminal")
    await approvals.refuse(refused.id, "terminal")
    assert (await _open(approvals, digest="d1")).id != granted.id
    assert (await _open(approvals, digest="d2")).id != refused.id
    clock.advance(OPEN_SECONDS)
    assert (await _open(approvals, digest="d3")).id != late.id


async def test_approval_can_be_granted_for_fifteen_minutes(approvals: ApprovalStore, clock: Clock) -> None:
    early, late = await _open(approvals, digest="d1"), await _open(approvals, digest="d2")
    clock.advance(OPEN_SECONDS - 1)
    assert await approvals.grant(early.id, "terminal")
    clock.advance(1)
    assert not await approvals.grant(late.id, "terminal")
    assert approvals.is_expired(await _reloaded(approvals, late))


async def test_grant_can_be_used_for_five_minutes(approvals: ApprovalStore, clock: Clock) -> None:
    early, late = await _open(approvals, digest="d1"), await _open(approvals, digest="d2")
    await approvals.grant(early.id, "terminal")
    await approvals.grant(late.id, "terminal")
    clock.advance(GRANT_SECONDS - 1)
    assert await approvals.consume(early)
    clock.advance(1)
    assert not await approvals.consume(late)
    assert approvals.is_expired(await _reloaded(approvals, late))


async def test_rejection_is_final(approvals: ApprovalStore) -> None:
    approval = await _open(approvals)
    assert await approvals.refuse(approval.id, "dialog")
    assert not await approvals.grant(approval.id, "terminal")
    assert not await approvals.consume(approval)
    assert (await _reloaded(approvals, approval)).state == "refused"
    assert (await _reloaded(approvals, approval)).decided_by == "dialog"


async def test_running_or_finished_call_can_not_be_rejected(approvals: ApprovalStore) -> None:
    approval = await _open(approvals)
    await approvals.grant(approval.id, "terminal")
    await approvals.consume(approval)
    assert not await approvals.refuse(approval.id, "terminal")
    assert not await approvals.grant(approval.id, "terminal")


async def test_grant_is_consumed_once_across_two_servers(approvals: ApprovalStore, other_server: ApprovalStore) -> None:
    approval = await _open(approvals)
    assert not await approvals.consume(approval)
    await approvals.grant(approval.id, "terminal")
    taken: list[bool] = []

    async def take(by: ApprovalStore) -> None:
        taken.append(await by.consume(approval))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for _ in range(25):
                tasks.start_soon(take, approvals)
                tasks.start_soon(take, other_server)
    assert sum(taken) == 1
    assert len(taken) == 50


@pytest.mark.parametrize("change", [{"digest": "d2"}, {"user_id": "user-2"}])
async def test_grant_is_not_consumed_for_another_call(approvals: ApprovalStore, change: dict[str, str]) -> None:
    approval = await _open(approvals)
    await approvals.grant(approval.id, "terminal")
    assert not await approvals.consume(replace(approval, **change))  # type: ignore[arg-type]


async def test_first_outcome_is_kept(approvals: ApprovalStore) -> None:
    approval = await _open(approvals)
    await approvals.finish(approval.id, '"too early"', ok=True, code="ok")
    await approvals.grant(approval.id, "terminal")
    await approvals.consume(approval)
    await approvals.finish(approval.id, '"first"', ok=True, code="ok")
    await approvals.finish(approval.id, '"second"', ok=False, code="partner.rejected")
    current = await _reloaded(approvals, approval)
    assert (current.state, current.outcome) == ("done", '"first"')


async def test_only_waiting_approvals_are_listed_oldest_first(approvals: ApprovalStore, clock: Clock) -> None:
    late = await _open(approvals, digest="late")
    clock.advance(OPEN_SECONDS - 10)
    first = await _open(approvals, digest="first")
    clock.advance(20)
    second = await _open(approvals, digest="second")
    granted = await _open(approvals, digest="granted")
    await approvals.grant(granted.id, "terminal")
    assert [i.id for i in await approvals.waiting()] == [first.id, second.id]
    assert late.id not in [i.id for i in await approvals.waiting()]


async def test_returned_grant_can_be_used_for_its_remaining_time(approvals: ApprovalStore, clock: Clock) -> None:
    approval = await _open(approvals)
    await approvals.grant(approval.id, "terminal")
    for _ in range(2):
        clock.advance(GRANT_SECONDS / 2 - 1)
        assert await approvals.consume(approval)
        await approvals.return_grant(approval.id)
    clock.advance(2)
    assert not await approvals.consume(approval)
    assert approvals.is_expired(await _reloaded(approvals, approval))


@pytest.mark.parametrize("state", ["waiting", "refused", "done"])
async def test_only_an_executing_grant_can_be_returned(approvals: ApprovalStore, state: str) -> None:
    approval = await _open(approvals)
    if state == "refused":
        await approvals.refuse(approval.id, "terminal")
    if state == "done":
        await approvals.grant(approval.id, "terminal")
        await approvals.consume(approval)
        await approvals.finish(approval.id, "{}", ok=True, code="ok")
    await approvals.return_grant(approval.id)
    assert (await _reloaded(approvals, approval)).state == state


# Cooldown


async def _rejected(approvals: ApprovalStore, clock: Clock, *after: float, tool: str = "pay") -> None:
    """Reject a tool several times, with these seconds between the rejections."""
    for seconds in after:
        clock.advance(seconds)
        approval = await approvals.open(
            CallRequest(tool, ActionClass.MONEY, "user-1", f"{tool}-{clock.now}"), ApprovalDetails("Pay?")
        )
        assert await approvals.refuse(approval.id, "dialog")


async def test_three_rejections_in_ten_minutes_start_a_fifteen_minute_cooldown(
    approvals: ApprovalStore, clock: Clock
) -> None:
    waiting = await _open(approvals, digest="waits since before")
    await _rejected(approvals, clock, 0, 300, 300)
    until = clock.now + 15 * 60
    for seconds in (0, 1, 15 * 60 - 2):
        clock.advance(seconds)
        for digest in ("another", "waits since before"):
            with pytest.raises(LimitExceeded) as barred:
                await _open(approvals, digest=digest)
            assert (barred.value.code, barred.value.until) == ("cooldown", until)
    clock.advance(1)
    await _open(approvals, digest="another")
    assert waiting.id not in [approval.id for approval in await approvals.waiting()]


async def test_other_tool_other_state_or_fewer_rejections_start_no_cooldown(
    approvals: ApprovalStore, clock: Clock
) -> None:
    await _rejected(approvals, clock, 0, 0)
    await _rejected(approvals, clock, 0, 0, 0, tool="other")
    granted = await _open(approvals, digest="granted")
    await approvals.grant(granted.id, "terminal")
    await _open(approvals)


async def test_rejections_start_a_cooldown_for_their_user_tool_and_class_only(
    approvals: ApprovalStore, clock: Clock
) -> None:
    await _rejected(approvals, clock, 0, 0, 0)
    refused = CallRequest("pay", ActionClass.MONEY, "user-1", "d9")
    with pytest.raises(LimitExceeded):
        await approvals.open(refused, ApprovalDetails("Pay?"))
    for other in ({"user_id": "user-2"}, {"tool": "tip"}, {"action_class": ActionClass.WRITE}):
        await approvals.open(replace(refused, **other), ApprovalDetails("Pay?"))


async def test_spread_out_rejections_start_no_cooldown(approvals: ApprovalStore, clock: Clock) -> None:
    await _rejected(approvals, clock, 0, 301, 300, 301, 300)
    await _open(approvals)


async def test_waiting_approvals_can_be_decided_during_a_cooldown(approvals: ApprovalStore, clock: Clock) -> None:
    waiting = await _open(approvals)
    await _rejected(approvals, clock, 0, 0, 0)
    assert await approvals.grant(waiting.id, "terminal")
    assert await approvals.consume(waiting)


# Calls without an approval


async def test_allowed_call_is_consumed_immediately_without_a_person(approvals: ApprovalStore, guard: Guard) -> None:
    call_request = CallRequest("pay", ActionClass.MONEY, "user-1", "d1")
    first, second = [
        await approvals.open_granted(call_request, ApprovalDetails("Pay?", amount_cents=5), "policy") for _ in range(2)
    ]
    assert first.id != second.id
    current = await _reloaded(approvals, first)
    assert (current.state, current.decided_by, current.amount_cents) == ("executing", "policy", 5)
    assert await approvals.waiting() == []
    rows = [row for row in await guard.audit.rows(ANY_USER) if row.approval_id == first.id]
    assert [(row.kind, row.verdict, row.by) for row in rows] == [
        ("decision", "granted", "policy"),
        ("call", "executing", "policy"),
    ]


async def test_cooldown_does_not_affect_allowed_calls(approvals: ApprovalStore, clock: Clock) -> None:
    await _rejected(approvals, clock, 0, 0, 0)
    await approvals.open_granted(
        CallRequest("pay", ActionClass.MONEY, "user-1", "d1"), ApprovalDetails("Pay?"), "policy"
    )


# Limits


@pytest.fixture
def limited(store: Store, clock: Clock) -> Guard:
    """Return approvals with a limit of 1,000 cents a day."""
    policy = replace(default_policy("embedded", read_only=False), limits=Limits(per_day_cents=1000))
    return build_guard(store, policy, ANY_USER, clock=clock)


def _paying(digest: str, cents: int) -> tuple[CallRequest, ApprovalDetails]:
    return CallRequest("pay", ActionClass.MONEY, "user-1", digest), ApprovalDetails("Pay?", amount_cents=cents)


async def test_limit_is_checked_when_the_approval_is_requested(limited: Guard, store: Store) -> None:
    await limited.approvals.open(*_paying("d1", 600))
    with pytest.raises(LimitExceeded, match=r"withdrawals\.per_day_cents"):
        await limited.approvals.open(*_paying("d2", 401))
    await limited.approvals.open(*_paying("d3", 400))
    assert len(await limited.approvals.waiting()) == 2


async def test_limit_is_checked_again_when_the_grant_is_used_and_keeps_it(limited: Guard, store: Store) -> None:
    approvals = limited.approvals
    first, second = await approvals.open(*_paying("d1", 500)), await approvals.open(*_paying("d2", 500))
    for approval in (first, second):
        await approvals.grant(approval.id, "terminal")
    assert await approvals.consume(first)
    # Another server with a higher limit has spent more than this one allows.
    await store.run(lambda db: db.execute("UPDATE approvals SET amount_cents = 501 WHERE id = ?", (first.id,)))
    with pytest.raises(LimitExceeded, match=r"withdrawals\.per_day_cents"):
        await approvals.consume(second)
    assert (await _reloaded(approvals, second)).state == "granted"
    assert [row.approval_id for row in await limited.audit.rows(ANY_USER, kind="call")] == [first.id]
    await store.run(lambda db: db.execute("UPDATE approvals SET amount_cents = 500 WHERE id = ?", (first.id,)))
    assert await approvals.consume(second)


async def test_concurrent_consumption_stays_within_the_limit(limited: Guard) -> None:
    taken: list[str] = []

    async def pay(number: int) -> None:
        with suppress(LimitExceeded):
            taken.append((await limited.approvals.open_granted(*_paying(str(number), 300), "policy")).id)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(pay, number)
    assert len(taken) == 3


# The audit


async def test_each_change_has_an_audit_row_in_the_same_transaction(
    approvals: ApprovalStore, guard: Guard, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval = await _open(approvals)
    changes: list[tuple[Callable[[], Awaitable[object]], str, tuple[str, str | None, str | None]]] = [
        (lambda: approvals.grant(approval.id, "desk"), "granted", ("decision", "granted", "desk")),
        (lambda: approvals.consume(approval), "executing", ("call", "executing", "desk")),
        (lambda: approvals.return_grant(approval.id), "granted", ("outcome", "not_begun", "desk")),
        (lambda: approvals.consume(approval), "executing", ("call", "executing", "desk")),
        (lambda: approvals.finish(approval.id, "{}", ok=True, code="ok"), "done", ("outcome", "done", "desk")),
    ]
    before = "waiting"
    for change, after, line in changes:
        with monkeypatch.context() as broken:
            broken.setattr(approvals, "_record", _fail)
            with pytest.raises(StoreUnavailable):
                await change()
        assert (await _reloaded(approvals, approval)).state == before
        await change()
        assert (await _reloaded(approvals, approval)).state == after
        last = (await guard.audit.rows(ANY_USER, newest_first=True, limit=1))[0]
        assert (last.kind, last.verdict, last.by, last.approval_id) == (*line, approval.id)
        before = after
    other = await _open(approvals, digest="d2")
    with monkeypatch.context() as broken:
        for part in (approvals, approvals.refusals):
            broken.setattr(part, "_record", _fail)
        with pytest.raises(StoreUnavailable):
            await _open(approvals, digest="d3")
        with pytest.raises(StoreUnavailable):
            await approvals.refuse(other.id, "terminal")
        with pytest.raises(StoreUnavailable):
            await approvals.refusals.withdraw(other.id)
    assert [waiting.id for waiting in await approvals.waiting()] == [other.id]


def _fail(db: object, entry: object) -> None:
    raise StoreUnavailable

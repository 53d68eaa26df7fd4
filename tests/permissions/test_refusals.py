"""Withdrawn requests: whose, in which state, against a person's decision, in every rate and in the cooldown."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest, Detail
from machines_mcp.permissions.approvals import OPEN_SECONDS
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import Limits, Policy, Rule, default_policy
from machines_mcp.permissions.refusals import MAX_OWN
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock
from tests.support.inline_store import InlineStore, finish
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

CARD = ApprovalDetails("Show it?", card_id="card-1", sink="page")
ASK = dict.fromkeys(ActionClass, Rule.ASK)


def request(
    digest: str = "d", action_class: ActionClass = ActionClass.MONEY, *, protective: bool = False
) -> CallRequest:
    return CallRequest("pay", action_class, "user-1", digest, protective=protective)


@pytest.fixture
async def other_server(tmp_path: Path, clock: Clock) -> AsyncIterator[Guard]:
    """The same folder in another server process."""
    other = Store(tmp_path / "state")
    yield build_guard(other, default_policy("embedded", read_only=False), ANY_USER, clock=clock)
    await other.close()


async def asked(guard: Guard, digest: str = "d") -> Approval:
    return await guard.approvals.open(request(digest), ApprovalDetails("Pay?"))


async def test_own_waiting_request_is_withdrawn_once_and_for_every_server(guard: Guard, other_server: Guard) -> None:
    approval = await asked(guard)
    for _ in range(2):
        found = await guard.approvals.refusals.withdraw(approval.id)
        assert found is not None
        assert (found.state, found.decided_by, found.shown_state) == ("refused", "withdrawn", "withdrawn")
    assert await other_server.channels.waiting() == []
    assert await other_server.channels.grant(approval.id, "desk") == "gone"
    rows = await guard.audit.rows(ANY_USER, kind="decision")
    assert [(row.verdict, row.by, row.user_id, row.approval_id) for row in rows] == [
        ("withdrawn", "withdrawn", "user-1", approval.id)
    ]


async def test_request_of_another_process_is_not_ours_even_if_ours_is_equal(guard: Guard, other_server: Guard) -> None:
    approval = await asked(guard)
    assert (await asked(other_server)).id == approval.id
    assert await other_server.approvals.refusals.withdraw(approval.id) is None
    assert await guard.approvals.refusals.withdraw("0" * 32) is None
    assert [each.id for each in await guard.channels.waiting()] == [approval.id]


Change = Callable[[Guard, Approval, Clock], Awaitable[object]]


async def _grant(guard: Guard, approval: Approval, clock: Clock) -> None:
    await guard.approvals.grant(approval.id, "desk")


async def _execute(guard: Guard, approval: Approval, clock: Clock) -> None:
    await _grant(guard, approval, clock)
    await guard.approvals.consume(approval)


async def _end(guard: Guard, approval: Approval, clock: Clock) -> None:
    await _execute(guard, approval, clock)
    await guard.approvals.finish(approval.id, "{}", ok=True, code="ok")


async def _refuse(guard: Guard, approval: Approval, clock: Clock) -> None:
    await guard.approvals.refuse(approval.id, "desk")


async def _expire(guard: Guard, approval: Approval, clock: Clock) -> None:
    clock.advance(OPEN_SECONDS + 1)


@pytest.mark.parametrize(
    ("change", "state"),
    [(_grant, "granted"), (_execute, "executing"), (_end, "done"), (_refuse, "refused"), (_expire, "waiting")],
)
async def test_request_that_no_longer_waits_stays_as_it_is(
    guard: Guard, clock: Clock, change: Change, state: str
) -> None:
    approval = await asked(guard)
    await change(guard, approval, clock)
    before = await guard.approvals.get(approval.id)
    assert await guard.approvals.refusals.withdraw(approval.id) == before
    assert before is not None and before.shown_state == state
    # An expired request is not refused either.
    assert await guard.approvals.refuse(approval.id, "desk") is False


async def test_withdrawing_and_granting_at_once_never_both_count(guard: Guard, other_server: Guard) -> None:
    results = set()
    with anyio.fail_after(PATIENCE):
        for number in range(40):
            approval, granted = await asked(guard, str(number)), list[bool]()

            async def grant(approval: Approval = approval, granted: list[bool] = granted) -> None:
                granted.append(await other_server.approvals.grant(approval.id, "desk"))

            async def withdraw(approval: Approval = approval) -> None:
                await guard.approvals.refusals.withdraw(approval.id)

            async with anyio.create_task_group() as tasks:
                for each in (grant, withdraw) if number % 2 else (withdraw, grant):
                    tasks.start_soon(each)
            found = await guard.approvals.get(approval.id)
            assert found is not None
            assert found.shown_state == ("granted" if granted == [True] else "withdrawn")
            assert await other_server.approvals.consume(found) is (granted == [True])
            results.add(found.shown_state)
    assert results == {"granted", "withdrawn"}


async def test_identity_data_of_a_withdrawn_request_is_erased(guard: Guard, store: Store) -> None:
    details = ApprovalDetails("Submit it?", identity=(Detail("Name", "Ada Lovelace"),))
    approval = await guard.approvals.open(request(), details)
    assert approval.sealed is not None
    found = await guard.approvals.refusals.withdraw(approval.id)
    assert found is not None and found.sealed is None


async def test_only_the_newest_requests_are_remembered(guard: Guard) -> None:
    first, second = await asked(guard, "1"), await asked(guard, "2")
    for number in range(MAX_OWN - 1):
        guard.approvals.refusals.add_own(f"{number:032x}")
    assert await guard.approvals.refusals.withdraw(first.id) is None
    assert await guard.approvals.refusals.withdraw(second.id) is not None


LOCK = request(action_class=ActionClass.WRITE, protective=True), ApprovalDetails("Lock it?", protective=True)
RATES: list[tuple[str, Limits, CallRequest, ApprovalDetails]] = [
    ("rates.asks_per_minute", Limits(asks_per_minute=2), request(), ApprovalDetails("?")),
    ("rates.asks_per_minute", Limits(asks_per_minute=2), *LOCK),
    ("rates.total.asks_per_minute", Limits(total_asks_per_minute=2), request(), ApprovalDetails("?")),
    (
        "rates.reveals_per_card_per_day",
        Limits(reveals_per_card_per_day=2),
        request(action_class=ActionClass.REVEAL),
        CARD,
    ),
]
"""Each rate that waiting requests use up, with a call that it counts."""


@pytest.mark.parametrize(("rate", "limits", "call", "details"), RATES)
async def test_withdrawn_request_counts_as_asked_in_every_rate(
    store: Store, clock: Clock, rate: str, limits: Limits, call: CallRequest, details: ApprovalDetails
) -> None:
    policy = Policy(ASK, limits=limits, sinks=frozenset({"page"}))
    guard = build_guard(store, policy, ANY_USER, clock=clock)
    ids = set()
    for _ in range(2):
        # Asking anew after withdrawing makes another request.
        approval = await guard.approvals.open(call, details)
        ids.add(approval.id)
        found = await guard.approvals.refusals.withdraw(approval.id)
        assert found is not None and found.shown_state == "withdrawn"
    assert len(ids) == 2
    with pytest.raises(LimitExceeded) as exceeded:
        await guard.approvals.open(call, details)
    assert exceeded.value.code == rate
    clock.advance(24 * 3600)
    kept = await guard.approvals.open(call, details)
    assert await guard.approvals.grant(kept.id, "desk") is True


async def test_withdrawn_locks_do_not_count_among_those_that_wait(store: Store, clock: Clock) -> None:
    guard = build_guard(store, Policy(ASK, limits=Limits(waiting_per_user=2)), ANY_USER, clock=clock)
    for _ in range(3):
        approval = await guard.approvals.open(*LOCK)
        await guard.approvals.refusals.withdraw(approval.id)
    for digest in ("one", "two"):
        await guard.approvals.open(replace(LOCK[0], digest=digest), LOCK[1])
    with pytest.raises(LimitExceeded) as exceeded:
        await guard.approvals.open(replace(LOCK[0], digest="three"), LOCK[1])
    assert exceeded.value.code == "approval.waiting_per_user"


async def test_withdrawn_payout_reserves_nothing(store: Store, clock: Clock) -> None:
    guard = build_guard(store, Policy(ASK, limits=Limits(per_day_cents=100)), ANY_USER, clock=clock)
    details = ApprovalDetails("Pay?", amount_cents=100)
    approval = await guard.approvals.open(request("one"), details)
    with pytest.raises(LimitExceeded):
        await guard.approvals.open(request("two"), details)
    await guard.approvals.refusals.withdraw(approval.id)
    assert (await guard.approvals.open(request("two"), details)).state == "waiting"


class _Server:
    """A guard whose clock the test moves. Its store needs no thread, so that many can be made."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store, self.clock = InlineStore(Path(self.folder.name)), Clock()
        self.guard = build_guard(self.store, default_policy("embedded", read_only=False), ANY_USER, clock=self.clock)
        self._number = 0

    def ask(self, then: str) -> str:
        """Ask for a call and decide it; return what stands against asking, or `asked`."""
        self._number += 1
        try:
            approval = finish(self.guard.approvals.open(request(str(self._number)), ApprovalDetails("?")))
        except LimitExceeded as exceeded:
            return f"{exceeded.code} {exceeded.until}"
        if then == "refuse":
            assert finish(self.guard.approvals.refuse(approval.id, "desk"))
        if then == "withdraw":
            finish(self.guard.approvals.refusals.withdraw(approval.id))
        return "asked"

    def close(self) -> None:
        self.guard.locks.close()
        self.store.end()
        self.folder.cleanup()


@given(st.lists(st.sampled_from(["refuse", "withdraw", "leave", "minute", "quarter"]), max_size=25))
def test_withdrawn_requests_neither_cause_nor_end_the_cooldown_after_refusals(steps: list[str]) -> None:
    with_them, without = _Server(), _Server()
    try:
        for step in steps:
            seconds = {"minute": 60, "quarter": 15 * 60}.get(step, 0)
            for server in (with_them, without):
                server.clock.advance(seconds + 1)
            if step in ("refuse", "leave"):
                assert with_them.ask(step) == without.ask(step)
            elif step == "withdraw":
                with_them.ask(step)
        assert with_them.ask("refuse") == without.ask("refuse")
    finally:
        with_them.close()
        without.close()

"""Reconciliation: the state of an interrupted call after its tool looks for the outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.approvals import GRANT_SECONDS
from machines_mcp.permissions.executions import EXECUTION_SECONDS
from machines_mcp.permissions.policy import default_policy
from machines_mcp.protocol import reconciliation
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.tool import (
    Cents,
    Completed,
    NeedsPerson,
    NotExecuted,
    Output,
    Reconciliation,
    RetryLater,
    Tool,
    ToolContext,
    UserInput,
    tool,
)
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage import failpoints
from machines_mcp.storage.database import Store, StoreUnavailable
from machines_mcp.storage.journal import CallContext, JournalEntry
from machines_mcp.storage.journal_entry import has_open_work
from machines_mcp.storage.principal import ANY_USER
from tests.storage.test_journal import CardMutation, in_call
from tests.support.clock import Clock
from tests.support.fake_tools import MODERN, TOOLS, FakeUpstream, Harness, UpstreamError, body, build_harness, code
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.anyio

ARGUMENTS: dict[str, Any] = {"user_id": "user-1", "amount_cents": 500}


class Order(UserInput):
    amount_cents: Cents


class Bought(Output):
    card_id: Verbatim
    note: str | None = None


@dataclass
class BuyTool:
    """A tool's state: its executions, its reconciliations, and their scripted results."""

    harness: Harness | None = None
    runs: int = 0
    reconciliations: list[tuple[str, str, Sequence[JournalEntry]]] = field(default_factory=list)
    """User, key and journal entries of each reconciliation."""
    during_run: Callable[[], Awaitable[None]] | None = None
    results: list[Reconciliation | Exception] = field(default_factory=list)
    """The result of each reconciliation. The last one repeats."""
    during_reconciliation: Callable[[], Awaitable[None]] | None = None
    reconciled_as: CallContext | None = None
    """The call of the last reconciliation."""

    async def send(self, key: str | None, state: Any = None, *, about: CallContext | None = None) -> str:
        """Journal a mutation. With a state, end it."""
        assert self.harness is not None
        entry_id = await self.harness.guard.journal.begin(CardMutation(idempotency_key=key), about)
        if state is not None:
            await self.harness.guard.journal.end(entry_id, state)
        return entry_id

    def tool(self) -> Tool:
        buy_tool = self

        async def details(call: ToolContext[FakeUpstream], args: Order) -> ApprovalDetails:
            return ApprovalDetails(question="Buy it?", amount_cents=args.amount_cents)

        async def settle(
            call: ToolContext[FakeUpstream], approval: Approval, entries: Sequence[JournalEntry]
        ) -> Reconciliation:
            buy_tool.reconciliations.append((call.user_id, call.idempotency_key, entries))
            buy_tool.reconciled_as = call.logged_as
            if buy_tool.during_reconciliation is not None:
                await buy_tool.during_reconciliation()
            found = buy_tool.results.pop(0) if len(buy_tool.results) > 1 else buy_tool.results[0]
            if isinstance(found, Exception):
                raise found
            return found

        @tool(
            title="Buy",
            toolset="cards",
            action_class=ActionClass.MONEY,
            approval_details=details,
            reconcile=settle,
            makes_user=lambda _: True,
            idempotent=False,
        )
        async def buy(call: ToolContext[FakeUpstream], args: Order) -> Bought:
            """Buy it."""
            buy_tool.runs += 1
            entry_id = await buy_tool.send(call.idempotency_key, about=call.logged_as)
            if buy_tool.during_run is not None:
                await buy_tool.during_run()
            assert buy_tool.harness is not None
            await buy_tool.harness.guard.journal.end(entry_id, "done", reference="card-0001")
            return Bought(card_id=Verbatim("card-0001"))

        return buy


@pytest.fixture
def buy_tool(store: Store, clock: Clock) -> BuyTool:
    found = BuyTool()
    found.harness = build_harness(store, clock, tools=(*TOOLS, found.tool()))
    return found


def harness_of(buy_tool: BuyTool) -> Harness:
    assert buy_tool.harness is not None
    return buy_tool.harness


async def lose_response(buy_tool: BuyTool) -> None:
    """Lose the response."""
    raise ToolError(Code.OUTCOME_UNKNOWN)


async def granted(harness: Harness, client: Any) -> str:
    """Return the id of a granted call."""
    asked = body(await client.call_tool("buy", ARGUMENTS))
    assert asked["code"] == "approval.required"
    await harness.approvals.grant(asked["approval_id"], "terminal")
    return str(asked["approval_id"])


async def interrupted(
    buy_tool: BuyTool, *, sent: Any = "unknown", only: Any = None, owner: str | None = "", digest: str = "digest-1"
) -> Approval:
    """Create an interrupted call: a granted approval of a dead process, with its journal entries."""
    harness = harness_of(buy_tool)
    call_request = CallRequest("buy", ActionClass.MONEY, "user-1", digest)
    approval = await harness.approvals.open(call_request, ApprovalDetails("Buy it?", only=only))
    await harness.approvals.grant(approval.id, "terminal")
    assert await harness.approvals.consume(approval)
    if sent is not None:
        await buy_tool.send(approval.idempotency_key, sent, about=in_call(approval.id))
    await harness.guard.store.run(
        lambda db: db.execute("UPDATE approvals SET owner = ? WHERE id = ?", (owner, approval.id))
    )
    return await now(harness, approval)


async def now(harness: Harness, approval: Approval) -> Approval:
    found = await harness.approvals.get(approval.id)
    assert found is not None
    return found


async def states(harness: Harness, approval: Approval) -> list[str]:
    return [entry.state for entry in await harness.guard.journal.for_approval(approval.id)]


# Reconciliation by the repeated call


async def test_a_repeated_call_gets_the_first_calls_result_as_does_the_third(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)
    buy_tool.during_run = lambda: lose_response(buy_tool)
    buy_tool.results = [Completed(Bought(card_id=Verbatim("card-0007"), note="found"), "card-0007")]
    async with harness.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(harness, client)}
        assert code(await client.call_tool("buy", again)) == "outcome.unknown"
        found = [body(await client.call_tool("buy", again)) for _ in range(2)]
    assert found[0] == found[1]
    assert (found[0]["card_id"], found[0]["note"]) == ("card-0007", "found")
    assert (buy_tool.runs, len(buy_tool.reconciliations)) == (1, 1)
    (user, key, entries) = buy_tool.reconciliations[0]
    assert (user, key) == ("user-1", f"machines-{again['approval_id']}")
    assert [entry.idempotency_key for entry in entries] == [key]
    (entry,) = await harness.guard.journal.for_approval(again["approval_id"])
    assert (entry.state, entry.reference, entry.settled_by) == ("done", "card-0007", "server")


async def test_a_call_that_sent_nothing_runs_on_repeat_without_a_question(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)
    buy_tool.during_run = lambda: lose_response(buy_tool)
    buy_tool.results = [NotExecuted("Nothing was sent.")]
    async with harness.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(harness, client)}
        assert code(await client.call_tool("buy", again)) == "outcome.unknown"
        buy_tool.during_run = None
        assert body(await client.call_tool("buy", again))["card_id"] == "card-0001"
    assert (buy_tool.runs, len(buy_tool.reconciliations)) == (2, 1)
    (entry,) = await harness.guard.journal.for_approval(again["approval_id"])
    assert (entry.state, entry.attempts, entry.settled_by) == ("done", 2, None)


async def test_an_expired_grant_reports_that_nothing_was_sent(buy_tool: BuyTool, clock: Clock) -> None:
    harness = harness_of(buy_tool)
    buy_tool.during_run = lambda: lose_response(buy_tool)
    buy_tool.results = [NotExecuted("Nothing was sent.")]
    async with harness.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(harness, client)}
        await client.call_tool("buy", again)
        clock.advance(GRANT_SECONDS + 1)
        told = [body(await client.call_tool("buy", again)) for _ in range(2)]
    assert told[0] == told[1]
    assert told[0]["code"] == "approval.expired"
    assert "Nothing was sent." in told[0]["message"]
    assert told[0]["next_steps"] == [{**told[0]["next_steps"][0], "tool": "buy", "arguments": ARGUMENTS}]
    assert (buy_tool.runs, len(buy_tool.reconciliations)) == (1, 1)


async def test_a_reveal_whose_page_is_gone_has_failed(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)
    buy_tool.results = [NotExecuted("Nothing was shown.")]
    approval = await interrupted(buy_tool, sent=None, only="page")
    await harness.settling.reconcile(approval)
    assert (await now(harness, approval)).state == "failed"


async def test_a_call_that_did_not_happen_is_closed_as_rejected(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)
    buy_tool.results = [NotExecuted("The card is as it was.")]
    approval = await interrupted(buy_tool)
    await harness.settling.reconcile(approval)
    assert await states(harness, approval) == ["rejected"]


async def test_requests_of_a_reconciliation_belong_to_the_approval(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)

    async def send() -> None:
        await buy_tool.send("another-key", "done", about=buy_tool.reconciled_as)

    buy_tool.during_reconciliation, buy_tool.results = send, [Completed(Bought(card_id=Verbatim("card-0001")))]
    approval = await interrupted(buy_tool)
    await harness.settling.reconcile(approval)
    assert await states(harness, approval) == ["done", "done"]


async def test_a_call_that_needs_a_person_stays_open_and_is_not_retried(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)
    buy_tool.during_run = lambda: lose_response(buy_tool)
    buy_tool.results = [NeedsPerson("Two cards could be it."), Completed(Bought(card_id=Verbatim("card-0001")))]
    async with harness.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(harness, client)}
        await client.call_tool("buy", again)
        told = [body(await client.call_tool("buy", again)) for _ in range(2)]
    assert told[0] == told[1]
    assert (told[0]["code"], told[0]["retryable"]) == ("outcome.unknown", False)
    assert "doctor --resolve" in told[0]["message"]
    assert len(buy_tool.reconciliations) == 1
    (entry,) = await harness.guard.journal.for_approval(again["approval_id"])
    assert (entry.state, entry.note) == ("manual", "Two cards could be it.")
    left = await harness.approvals.get(again["approval_id"])
    assert left is not None
    assert left.state == "executing"


async def test_a_call_waits_for_a_reconciliation_that_finishes_soon(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)
    buy_tool.during_run = lambda: lose_response(buy_tool)
    buy_tool.results = [RetryLater(0.01), RetryLater(0.01), Completed(Bought(card_id=Verbatim("card-0001")))]
    async with harness.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(harness, client)}
        await client.call_tool("buy", again)
        assert body(await client.call_tool("buy", again))["card_id"] == "card-0001"
    assert len(buy_tool.reconciliations) == 3


async def test_a_slow_reconciliation_reports_when_to_retry(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)
    buy_tool.during_run = lambda: lose_response(buy_tool)
    buy_tool.results = [RetryLater(reconciliation.CALL_SECONDS + 60, "It is being signed.")]
    async with harness.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(harness, client)}
        await client.call_tool("buy", again)
        told = body(await client.call_tool("buy", again))
    assert (told["code"], told["retryable"]) == ("outcome.unknown", True)
    assert told["retry_after_seconds"] == reconciliation.CALL_SECONDS + 60
    assert "It is being signed." in told["message"]
    assert told["next_steps"][0]["arguments"] == again


@pytest.mark.parametrize(
    "error",
    [UpstreamError("canary-7f3a"), ValueError("canary-7f3a"), ToolError(Code.AUTH_REJECTED), StoreUnavailable()],
)
async def test_a_failed_reconciliation_decides_nothing_and_can_be_retried(
    buy_tool: BuyTool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(reconciliation, "CALL_SECONDS", 0.0)
    harness = harness_of(buy_tool)
    buy_tool.results = [error, Completed(Bought(card_id=Verbatim("card-0001")))]
    approval = await interrupted(buy_tool)
    authorization = await harness.settling.reconcile(approval)
    assert authorization is not None
    assert authorization.verdict == "later"
    assert not harness.approvals.running(await now(harness, approval))
    assert await harness.settling.reconcile(approval) is None
    assert (await now(harness, approval)).state == "done"
    assert "canary" not in caplog.text


async def test_other_calls_are_unaffected(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)
    buy_tool.during_run = lambda: lose_response(buy_tool)
    buy_tool.results = [Completed(Bought(card_id=Verbatim("card-0001")))]
    async with harness.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(harness, client)}
        await client.call_tool("buy", again)
        assert code(await client.call_tool("buy", {**again, "amount_cents": 501})) == "approval.mismatch"
    assert buy_tool.reconciliations == []


async def test_concurrent_repeats_share_one_reconciliation(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)
    buy_tool.during_run = lambda: lose_response(buy_tool)
    buy_tool.results = [Completed(Bought(card_id=Verbatim("card-0001")))]
    told: list[str] = []
    async with harness.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(harness, client)}
        await client.call_tool("buy", again)

        async def repeat() -> None:
            told.append(code(await client.call_tool("buy", again)))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(repeat)
    assert told == ["ok"] * 10
    assert len(buy_tool.reconciliations) == 1


async def test_a_call_waits_for_the_reconciliation_that_the_start_began(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)
    begun, go_on = anyio.Event(), anyio.Event()

    async def held() -> None:
        begun.set()
        await go_on.wait()

    buy_tool.during_run = lambda: lose_response(buy_tool)
    buy_tool.during_reconciliation, buy_tool.results = held, [Completed(Bought(card_id=Verbatim("card-0001")))]
    async with harness.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(harness, client)}
        await client.call_tool("buy", again)
        answers: list[str] = []

        async def repeat() -> None:
            answers.append(code(await client.call_tool("buy", again)))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(harness.settling.reconcile_all)
                await begun.wait()
                tasks.start_soon(repeat)
                (attempt,) = harness.settling._attempts.values()
                await eventually(lambda: answers or attempt.over.statistics().tasks_waiting)
                go_on.set()
    assert answers == ["ok"]
    assert len(buy_tool.reconciliations) == 1


async def test_two_servers_on_one_folder_reconcile_one_at_a_time(buy_tool: BuyTool, store: Store, clock: Clock) -> None:
    other_store = Store(store.folder)
    other = BuyTool()
    other.harness = build_harness(other_store, clock, tools=(*TOOLS, other.tool()))
    begun, go_on = anyio.Event(), anyio.Event()

    async def held() -> None:
        begun.set()
        await go_on.wait()

    buy_tool.during_reconciliation, buy_tool.results = held, [Completed(Bought(card_id=Verbatim("card-0001")))]
    approval = await interrupted(buy_tool)
    try:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(harness_of(buy_tool).settling.reconcile, approval)
                await begun.wait()
                await harness_of(other).settling.reconcile(approval)
                assert other.reconciliations == []
                assert harness_of(other).approvals.running(await now(harness_of(other), approval))
                go_on.set()
        assert (await now(harness_of(other), approval)).state == "done"
    finally:
        harness_of(other).guard.locks.close()
        await other_store.close()


async def test_a_caller_that_stops_waiting_does_not_cancel_the_reconciliation(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)
    begun = anyio.Event()
    scope = anyio.CancelScope()

    async def cancel() -> None:
        begun.set()
        scope.cancel()
        await anyio.lowlevel.checkpoint()

    buy_tool.during_reconciliation, buy_tool.results = cancel, [Completed(Bought(card_id=Verbatim("card-0001")))]
    approval = await interrupted(buy_tool)
    with anyio.fail_after(PATIENCE), scope:
        await harness.settling.reconcile(approval)
    assert begun.is_set()
    assert (await now(harness, approval)).state == "done"


async def test_an_approval_without_an_owner_or_journal_needs_a_person(buy_tool: BuyTool, clock: Clock) -> None:
    harness = harness_of(buy_tool)
    buy_tool.results = [NotExecuted("Nothing was sent.")]
    approval = await interrupted(buy_tool, sent=None, owner=None)
    clock.advance(EXECUTION_SECONDS + 1)
    authorization = await harness.settling.reconcile(approval)
    assert authorization is not None
    assert authorization.verdict == "needs_person"
    assert buy_tool.reconciliations == []


async def test_a_tool_without_reconciliation_needs_a_person(store: Store, clock: Clock) -> None:
    harness = build_harness(store, clock)

    async def fail() -> None:
        raise ValueError

    harness.upstream.after = fail
    async with harness.client(MODERN) as client:
        asked = body(await client.call_tool("pay", ARGUMENTS))
        await harness.approvals.grant(asked["approval_id"], "terminal")
        again = {**ARGUMENTS, "approval_id": asked["approval_id"]}
        told = [body(await client.call_tool("pay", again)) for _ in range(2)]
    assert [each["code"] for each in told] == ["outcome.unknown"] * 2
    assert "doctor --resolve" in told[1]["message"]
    assert len(harness.upstream.paid) == 1


async def test_an_unwritable_journal_refuses_the_call_and_keeps_the_grant(
    buy_tool: BuyTool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = harness_of(buy_tool)
    buy_tool.results = [NotExecuted("Nothing was sent.")]

    async def full(mutation: object, about: object) -> str:
        raise StoreUnavailable

    async with harness.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(harness, client)}
        with monkeypatch.context() as patch:
            patch.setattr(harness.guard.journal, "begin", full)
            assert code(await client.call_tool("buy", again)) == "state.unavailable"
        assert await harness.guard.journal.for_approval(again["approval_id"]) == []
        assert body(await client.call_tool("buy", again))["card_id"] == "card-0001"


async def test_a_call_of_another_policy_is_reconciled_but_not_sent_again(buy_tool: BuyTool) -> None:
    harness = harness_of(buy_tool)
    buy_tool.results = [Completed(Bought(card_id=Verbatim("card-0001")))]
    sends, looks = await interrupted(buy_tool), await interrupted(buy_tool, digest="digest-2")
    await harness.guard.store.run(lambda db: db.execute("UPDATE approvals SET policy = 'another'"))

    async def send() -> None:
        await buy_tool.send("another-key", "done", about=buy_tool.reconciled_as)

    buy_tool.during_reconciliation = send
    authorization = await harness.settling.reconcile(await now(harness, sends))
    assert authorization is not None
    assert authorization.verdict == "needs_person"
    # Nothing is stored, so a server with the other policy can still send it.
    assert await states(harness, sends) == ["unknown"]
    buy_tool.during_reconciliation = None
    assert await harness.settling.reconcile(await now(harness, looks)) is None
    assert (await now(harness, looks)).state == "done"


# Reconciliation at startup


async def test_startup_reconciles_all_interrupted_calls(buy_tool: BuyTool, store: Store) -> None:
    harness = harness_of(buy_tool)
    buy_tool.results = [RetryLater(0.01), Completed(Bought(card_id=Verbatim("card-0001")))]
    approval = await interrupted(buy_tool)
    assert await store.read(lambda db: has_open_work(db, ANY_USER))
    with anyio.fail_after(PATIENCE):
        await harness.settling.reconcile_all()
    assert (await now(harness, approval)).state == "done"
    assert await states(harness, approval) == ["done"]
    assert not await store.read(lambda db: has_open_work(db, ANY_USER))


async def test_startup_leaves_another_servers_running_calls_alone(
    buy_tool: BuyTool, store: Store, clock: Clock
) -> None:
    harness = harness_of(buy_tool)
    buy_tool.results = [Completed(Bought(card_id=Verbatim("card-0001")))]
    other = Store(store.folder)
    try:
        there = build_harness(other, clock, policy=default_policy("embedded", read_only=False))
        approval = await interrupted(buy_tool, owner=await other.read(lambda _: there.guard.locks.own()))
        await harness.settling.reconcile_all()
        assert buy_tool.reconciliations == []
        there.guard.locks.close()
        await harness.settling.reconcile_all()
        assert (await now(harness, approval)).state == "done"
    finally:
        await other.close()


async def test_startup_closes_entries_without_a_waiting_caller(buy_tool: BuyTool, store: Store) -> None:
    harness = harness_of(buy_tool)
    plain = await buy_tool.send("plain-1")
    ended = await interrupted(buy_tool, sent=None)
    of_ended = await buy_tool.send("machines-x", about=in_call(ended.id))
    await harness.approvals.finish(ended.id, "{}", ok=True, code="ok")
    manual = await buy_tool.send("plain-2")
    await harness.guard.journal.close(manual, "manual", note="Look.")
    harness.guard.locks.close()
    await harness.settling.reconcile_all()
    assert [entry.id for entry in await harness.guard.journal.unresolved()] == [manual]

    def rows(db: Any) -> dict[str, str]:
        return {row["id"]: row["state"] for row in db.execute("SELECT id, state FROM mutations")}

    found = await store.read(rows)
    assert (found[plain], found[of_ended]) == ("unknown", "done")


async def test_startup_reconciles_for_a_bounded_time(buy_tool: BuyTool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "START_SECONDS", 0.2)
    harness = harness_of(buy_tool)
    buy_tool.results = [RetryLater(0.01)]
    approval = await interrupted(buy_tool)
    with anyio.fail_after(PATIENCE):
        await harness.settling.reconcile_all()
    assert (await now(harness, approval)).state == "executing"
    assert not harness.approvals.running(await now(harness, approval))


async def test_without_open_work_nothing_is_reconciled(store: Store, buy_tool: BuyTool) -> None:
    assert not await store.read(lambda db: has_open_work(db, ANY_USER))
    await harness_of(buy_tool).settling.reconcile_all()
    assert buy_tool.reconciliations == []


async def test_reconciliation_passes_its_failpoints(buy_tool: BuyTool, monkeypatch: pytest.MonkeyPatch) -> None:
    approval = await interrupted(buy_tool)
    passed: list[str] = []
    monkeypatch.setattr(failpoints, "hook", passed.append)
    buy_tool.results = [Completed(Bought(card_id=Verbatim("card-0001")))]
    await harness_of(buy_tool).settling.reconcile(approval)
    assert [name for name in passed if name.startswith(("reconciliation", "outcome"))] == [
        "reconciliation.begun",
        "outcome.kept",
        "reconciliation.ended",
    ]

"""What a call that was cut short becomes, by what its tool finds out."""

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
from tests.protocol.fakes import MODERN, TOOLS, House, UpstreamError, World, body, code, house
from tests.storage.test_journal import Card, in_call
from tests.support.clock import Clock
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

ARGUMENTS: dict[str, Any] = {"user_id": "user-1", "amount_cents": 500}


class Order(UserInput):
    amount_cents: Cents


class Bought(Output):
    card_id: Verbatim
    note: str | None = None


@dataclass
class Shop:
    """What the tool below does and finds out, as a test has it."""

    home: House | None = None
    runs: int = 0
    looks: list[tuple[str, str, Sequence[JournalEntry]]] = field(default_factory=list)
    """User, key and entries of each look."""
    during_run: Callable[[], Awaitable[None]] | None = None
    finds: list[Reconciliation | Exception] = field(default_factory=list)
    """What each look finds; the last stays."""
    during_look: Callable[[], Awaitable[None]] | None = None
    looking: CallContext | None = None
    """The call of the last look."""

    async def send(self, key: str | None, state: Any = None, *, about: CallContext | None = None) -> str:
        """Journal a mutation; with a state, end it."""
        assert self.home is not None
        entry_id = await self.home.guard.journal.begin(Card(idempotency_key=key), about)
        if state is not None:
            await self.home.guard.journal.end(entry_id, state)
        return entry_id

    def tool(self) -> Tool:
        shop = self

        async def details(call: ToolContext[World], args: Order) -> ApprovalDetails:
            return ApprovalDetails(question="Buy it?", amount_cents=args.amount_cents)

        async def settle(
            call: ToolContext[World], approval: Approval, entries: Sequence[JournalEntry]
        ) -> Reconciliation:
            shop.looks.append((call.user_id, call.idempotency_key, entries))
            shop.looking = call.logged_as
            if shop.during_look is not None:
                await shop.during_look()
            found = shop.finds.pop(0) if len(shop.finds) > 1 else shop.finds[0]
            if isinstance(found, Exception):
                raise found
            return found

        @tool(title="Buy", toolset="cards", action_class=ActionClass.MONEY, approval_details=details, reconcile=settle)
        async def buy(call: ToolContext[World], args: Order) -> Bought:
            """Buy it."""
            shop.runs += 1
            entry_id = await shop.send(call.idempotency_key, about=call.logged_as)
            if shop.during_run is not None:
                await shop.during_run()
            assert shop.home is not None
            await shop.home.guard.journal.end(entry_id, "done", reference="card-0001")
            return Bought(card_id=Verbatim("card-0001"))

        return buy


@pytest.fixture
def shop(store: Store, clock: Clock) -> Shop:
    found = Shop()
    found.home = house(store, clock, tools=(*TOOLS, found.tool()))
    return found


def home_of(shop: Shop) -> House:
    assert shop.home is not None
    return shop.home


async def lost(shop: Shop) -> None:
    """The answer does not come."""
    raise ToolError(Code.OUTCOME_UNKNOWN)


async def granted(home: House, client: Any) -> str:
    """The id of a granted call."""
    asked = body(await client.call_tool("buy", ARGUMENTS))
    assert asked["code"] == "approval.required"
    await home.approvals.grant(asked["approval_id"], "terminal")
    return str(asked["approval_id"])


async def interrupted(
    shop: Shop, *, sent: Any = "unknown", only: Any = None, owner: str | None = "", digest: str = "digest-1"
) -> Approval:
    """An intent that was taken, by a process that is gone, with what the journal has of it."""
    home = home_of(shop)
    call_request = CallRequest("buy", ActionClass.MONEY, "user-1", digest)
    approval = await home.approvals.open(call_request, ApprovalDetails("Buy it?", only=only))
    await home.approvals.grant(approval.id, "terminal")
    assert await home.approvals.consume(approval)
    if sent is not None:
        await shop.send(approval.idempotency_key, sent, about=in_call(approval.id))
    await home.guard.store.run(
        lambda db: db.execute("UPDATE approvals SET owner = ? WHERE id = ?", (owner, approval.id))
    )
    return await now(home, approval)


async def now(home: House, approval: Approval) -> Approval:
    found = await home.approvals.get(approval.id)
    assert found is not None
    return found


async def states(home: House, approval: Approval) -> list[str]:
    return [entry.state for entry in await home.guard.journal.for_approval(approval.id)]


# By the call that names it


async def test_the_repeated_call_gets_what_the_first_would_have_and_the_third_the_same(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [Completed(Bought(card_id=Verbatim("card-0007"), note="found"), "card-0007")]
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        assert code(await client.call_tool("buy", again)) == "outcome.unknown"
        found = [body(await client.call_tool("buy", again)) for _ in range(2)]
    assert found[0] == found[1]
    assert (found[0]["card_id"], found[0]["note"]) == ("card-0007", "found")
    assert (shop.runs, len(shop.looks)) == (1, 1)
    (user, key, entries) = shop.looks[0]
    assert (user, key) == ("user-1", f"machines-{again['approval_id']}")
    assert [entry.idempotency_key for entry in entries] == [key]
    (entry,) = await home.guard.journal.for_approval(again["approval_id"])
    assert (entry.state, entry.reference, entry.settled_by) == ("done", "card-0007", "server")


async def test_what_was_not_done_runs_at_the_repeated_call_without_asking_anew(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [NotExecuted("Nothing was sent.")]
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        assert code(await client.call_tool("buy", again)) == "outcome.unknown"
        shop.during_run = None
        assert body(await client.call_tool("buy", again))["card_id"] == "card-0001"
    assert (shop.runs, len(shop.looks)) == (2, 1)
    (entry,) = await home.guard.journal.for_approval(again["approval_id"])
    assert (entry.state, entry.attempts, entry.settled_by) == ("done", 2, None)


async def test_a_grant_that_ran_out_meanwhile_is_over_and_says_that_nothing_happened(shop: Shop, clock: Clock) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [NotExecuted("Nothing was sent.")]
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        await client.call_tool("buy", again)
        clock.advance(GRANT_SECONDS + 1)
        told = [body(await client.call_tool("buy", again)) for _ in range(2)]
    assert told[0] == told[1]
    assert told[0]["code"] == "approval.expired"
    assert "Nothing was sent." in told[0]["message"]
    assert told[0]["next_steps"] == [{**told[0]["next_steps"][0], "tool": "buy", "arguments": {}}]
    assert (shop.runs, len(shop.looks)) == (1, 1)


async def test_what_only_a_page_can_grant_has_failed_for_its_page_is_gone(shop: Shop) -> None:
    home = home_of(shop)
    shop.finds = [NotExecuted("Nothing was shown.")]
    approval = await interrupted(shop, sent=None, only="page")
    await home.settling.reconcile(approval)
    assert (await now(home, approval)).state == "failed"


async def test_what_is_known_not_to_have_happened_is_closed_so(shop: Shop) -> None:
    home = home_of(shop)
    shop.finds = [NotExecuted("The card is as it was.")]
    approval = await interrupted(shop)
    await home.settling.reconcile(approval)
    assert await states(home, approval) == ["rejected"]


async def test_what_a_look_sends_stands_under_the_intent(shop: Shop) -> None:
    home = home_of(shop)

    async def send() -> None:
        await shop.send("another-key", "done", about=shop.looking)

    shop.during_look, shop.finds = send, [Completed(Bought(card_id=Verbatim("card-0001")))]
    approval = await interrupted(shop)
    await home.settling.reconcile(approval)
    assert await states(home, approval) == ["done", "done"]


async def test_what_a_person_must_say_stays_open_and_is_not_looked_into_again(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [NeedsPerson("Two cards could be it."), Completed(Bought(card_id=Verbatim("card-0001")))]
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        await client.call_tool("buy", again)
        told = [body(await client.call_tool("buy", again)) for _ in range(2)]
    assert told[0] == told[1]
    assert (told[0]["code"], told[0]["retryable"]) == ("outcome.unknown", False)
    assert "doctor --resolve" in told[0]["message"]
    assert len(shop.looks) == 1
    (entry,) = await home.guard.journal.for_approval(again["approval_id"])
    assert (entry.state, entry.note) == ("manual", "Two cards could be it.")
    left = await home.approvals.get(again["approval_id"])
    assert left is not None
    assert left.state == "executing"


async def test_a_call_waits_while_it_can_be_told_soon(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [RetryLater(0.01), RetryLater(0.01), Completed(Bought(card_id=Verbatim("card-0001")))]
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        await client.call_tool("buy", again)
        assert body(await client.call_tool("buy", again))["card_id"] == "card-0001"
    assert len(shop.looks) == 3


async def test_a_call_does_not_wait_for_what_takes_longer_and_says_when_to_come_back(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [RetryLater(reconciliation.CALL_SECONDS + 60, "It is being signed.")]
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        await client.call_tool("buy", again)
        told = body(await client.call_tool("buy", again))
    assert (told["code"], told["retryable"]) == ("outcome.unknown", True)
    assert told["retry_after_seconds"] == reconciliation.CALL_SECONDS + 60
    assert "It is being signed." in told["message"]
    assert told["next_steps"][0]["arguments"] == {"approval_id": again["approval_id"]}


@pytest.mark.parametrize(
    "error",
    [UpstreamError("canary-7f3a"), ValueError("canary-7f3a"), ToolError(Code.AUTH_REJECTED), StoreUnavailable()],
)
async def test_a_look_that_fails_settles_nothing_and_the_next_one_may(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(reconciliation, "CALL_SECONDS", 0.0)
    home = home_of(shop)
    shop.finds = [error, Completed(Bought(card_id=Verbatim("card-0001")))]
    approval = await interrupted(shop)
    authorization = await home.settling.reconcile(approval)
    assert authorization is not None
    assert authorization.verdict == "later"
    assert not home.approvals.running(await now(home, approval))
    assert await home.settling.reconcile(approval) is None
    assert (await now(home, approval)).state == "done"
    assert "canary" not in caplog.text


async def test_another_call_learns_nothing_of_it(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [Completed(Bought(card_id=Verbatim("card-0001")))]
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        await client.call_tool("buy", again)
        assert code(await client.call_tool("buy", {**again, "amount_cents": 501})) == "approval.mismatch"
    assert shop.looks == []


async def test_of_many_that_name_it_at_once_one_looks_and_all_are_told(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [Completed(Bought(card_id=Verbatim("card-0001")))]
    told: list[str] = []
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        await client.call_tool("buy", again)

        async def repeat() -> None:
            told.append(code(await client.call_tool("buy", again)))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(repeat)
    assert told == ["ok"] * 10
    assert len(shop.looks) == 1


async def test_two_servers_over_one_folder_look_one_at_a_time(shop: Shop, store: Store, clock: Clock) -> None:
    other_store = Store(store.folder)
    other = Shop()
    other.home = house(other_store, clock, tools=(*TOOLS, other.tool()))
    begun, go_on = anyio.Event(), anyio.Event()

    async def held() -> None:
        begun.set()
        await go_on.wait()

    shop.during_look, shop.finds = held, [Completed(Bought(card_id=Verbatim("card-0001")))]
    approval = await interrupted(shop)
    try:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(home_of(shop).settling.reconcile, approval)
                await begun.wait()
                await home_of(other).settling.reconcile(approval)
                assert other.looks == []
                assert home_of(other).approvals.running(await now(home_of(other), approval))
                go_on.set()
        assert (await now(home_of(other), approval)).state == "done"
    finally:
        home_of(other).guard.locks.close()
        await other_store.close()


async def test_who_gives_up_waiting_does_not_cut_it_short_once_more(shop: Shop) -> None:
    home = home_of(shop)
    begun = anyio.Event()
    scope = anyio.CancelScope()

    async def cancel() -> None:
        begun.set()
        scope.cancel()
        await anyio.lowlevel.checkpoint()

    shop.during_look, shop.finds = cancel, [Completed(Bought(card_id=Verbatim("card-0001")))]
    approval = await interrupted(shop)
    with anyio.fail_after(PATIENCE), scope:
        await home.settling.reconcile(approval)
    assert begun.is_set()
    assert (await now(home, approval)).state == "done"


async def test_what_was_taken_before_there_was_a_journal_is_for_a_person(shop: Shop, clock: Clock) -> None:
    home = home_of(shop)
    shop.finds = [NotExecuted("Nothing was sent.")]
    approval = await interrupted(shop, sent=None, owner=None)
    clock.advance(EXECUTION_SECONDS + 1)
    authorization = await home.settling.reconcile(approval)
    assert authorization is not None
    assert authorization.verdict == "manual"
    assert shop.looks == []


async def test_a_tool_that_can_not_find_out_leaves_it_to_a_person(store: Store, clock: Clock) -> None:
    home = house(store, clock)

    async def fail() -> None:
        raise ValueError

    home.world.after = fail
    async with home.client(MODERN) as client:
        asked = body(await client.call_tool("pay", ARGUMENTS))
        await home.approvals.grant(asked["approval_id"], "terminal")
        again = {**ARGUMENTS, "approval_id": asked["approval_id"]}
        told = [body(await client.call_tool("pay", again)) for _ in range(2)]
    assert [each["code"] for each in told] == ["outcome.unknown"] * 2
    assert "doctor --resolve" in told[1]["message"]
    assert len(home.world.paid) == 1


async def test_a_journal_that_can_not_be_written_refuses_and_the_grant_is_good_still(
    shop: Shop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_of(shop)
    shop.finds = [NotExecuted("Nothing was sent.")]

    async def full(mutation: object, about: object) -> str:
        raise StoreUnavailable

    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        with monkeypatch.context() as patch:
            patch.setattr(home.guard.journal, "begin", full)
            assert code(await client.call_tool("buy", again)) == "state.unavailable"
        assert await home.guard.journal.for_approval(again["approval_id"]) == []
        assert body(await client.call_tool("buy", again))["card_id"] == "card-0001"


async def test_what_another_policy_let_through_is_looked_for_and_not_sent_again(shop: Shop) -> None:
    home = home_of(shop)
    shop.finds = [Completed(Bought(card_id=Verbatim("card-0001")))]
    sends, looks = await interrupted(shop), await interrupted(shop, digest="digest-2")
    await home.guard.store.run(lambda db: db.execute("UPDATE approvals SET policy = 'another'"))

    async def send() -> None:
        await shop.send("another-key", "done", about=shop.looking)

    shop.during_look = send
    authorization = await home.settling.reconcile(await now(home, sends))
    assert authorization is not None
    assert authorization.verdict == "manual"
    assert await states(home, sends) == ["manual"]
    shop.during_look = None
    assert await home.settling.reconcile(await now(home, looks)) is None
    assert (await now(home, looks)).state == "done"


# At the start


async def test_the_start_settles_all_that_was_cut_short(shop: Shop, store: Store) -> None:
    home = home_of(shop)
    shop.finds = [RetryLater(0.01), Completed(Bought(card_id=Verbatim("card-0001")))]
    approval = await interrupted(shop)
    assert await store.read(has_open_work)
    with anyio.fail_after(PATIENCE):
        await home.settling.reconcile_all()
    assert (await now(home, approval)).state == "done"
    assert await states(home, approval) == ["done"]
    assert not await store.read(has_open_work)


async def test_the_start_leaves_alone_what_another_server_is_at_work_on(shop: Shop, store: Store, clock: Clock) -> None:
    home = home_of(shop)
    shop.finds = [Completed(Bought(card_id=Verbatim("card-0001")))]
    other = Store(store.folder)
    try:
        there = house(other, clock, policy=default_policy("embedded", read_only=False))
        approval = await interrupted(shop, owner=await other.read(lambda _: there.guard.locks.own()))
        await home.settling.reconcile_all()
        assert shop.looks == []
        there.guard.locks.close()
        await home.settling.reconcile_all()
        assert (await now(home, approval)).state == "done"
    finally:
        await other.close()


async def test_the_start_closes_what_nobody_waits_for(shop: Shop, store: Store) -> None:
    home = home_of(shop)
    plain = await shop.send("plain-1")
    ended = await interrupted(shop, sent=None)
    of_ended = await shop.send("machines-x", about=in_call(ended.id))
    await home.approvals.finish(ended.id, "{}", ok=True, code="ok")
    manual = await shop.send("plain-2")
    await home.guard.journal.close(manual, "manual", note="Look.")
    home.guard.locks.close()
    await home.settling.reconcile_all()
    assert [entry.id for entry in await home.guard.journal.unresolved()] == [manual]

    def rows(db: Any) -> dict[str, str]:
        return {row["id"]: row["state"] for row in db.execute("SELECT id, state FROM mutations")}

    found = await store.read(rows)
    assert (found[plain], found[of_ended]) == ("unknown", "done")


async def test_the_start_goes_on_for_a_bounded_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "START_SECONDS", 0.2)
    home = home_of(shop)
    shop.finds = [RetryLater(0.01)]
    approval = await interrupted(shop)
    with anyio.fail_after(PATIENCE):
        await home.settling.reconcile_all()
    assert (await now(home, approval)).state == "executing"
    assert not home.approvals.running(await now(home, approval))


async def test_where_nothing_is_open_nothing_is_looked_for(store: Store, shop: Shop) -> None:
    assert not await store.read(has_open_work)
    await home_of(shop).settling.reconcile_all()
    assert shop.looks == []


async def test_the_points_are_passed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    approval = await interrupted(shop)
    passed: list[str] = []
    monkeypatch.setattr(failpoints, "hook", passed.append)
    shop.finds = [Completed(Bought(card_id=Verbatim("card-0001")))]
    await home_of(shop).settling.reconcile(approval)
    assert [name for name in passed if name.startswith(("reconciliation", "outcome"))] == [
        "reconciliation.begun",
        "outcome.kept",
        "reconciliation.ended",
    ]

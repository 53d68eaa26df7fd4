"""What a call that was cut short becomes, by what its tool finds out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.approval import Intent
from machines_mcp.permissions.approval_details import Demand, Stakes
from machines_mcp.permissions.approvals import GRANT_SECONDS
from machines_mcp.permissions.executions import EXECUTION_SECONDS
from machines_mcp.permissions.policy import default_policy
from machines_mcp.protocol import reconciliation
from machines_mcp.protocol.errors import Code, Refusal
from machines_mcp.protocol.tool import Call, Cents, Done, Later, Manual, NotDone, Output, Settled, Tool, UserInput, tool
from machines_mcp.redaction.verbatim import Opaque
from machines_mcp.storage import failpoints
from machines_mcp.storage.database import Store, StoreUnavailable
from machines_mcp.storage.journal import Entry
from machines_mcp.storage.journal_entry import anything_open
from tests.protocol.fakes import MODERN, TOOLS, House, UpstreamError, World, body, code, house
from tests.storage.test_journal import Card, during
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

ARGUMENTS: dict[str, Any] = {"user_id": "user-1", "amount_cents": 500}


class Order(UserInput):
    amount_cents: Cents


class Bought(Output):
    card_id: Opaque
    note: str | None = None


@dataclass
class Shop:
    """What the tool below does and finds out, as a test has it."""

    home: House | None = None
    runs: int = 0
    looks: list[tuple[str, str, Sequence[Entry]]] = field(default_factory=list)
    """User, key and entries of each look."""
    during_run: Callable[[], Awaitable[None]] | None = None
    finds: list[Settled | Exception] = field(default_factory=list)
    """What each look finds; the last stays."""
    during_look: Callable[[], Awaitable[None]] | None = None

    async def send(self, key: str | None, state: Any = None) -> str:
        """Journal a mutation; with a state, end it."""
        assert self.home is not None
        entry_id = await self.home.guard.journal.begin(Card(idempotency_key=key))
        if state is not None:
            await self.home.guard.journal.end(entry_id, state)
        return entry_id

    def tool(self) -> Tool:
        shop = self

        async def stakes(call: Call[World], args: Order) -> Stakes:
            return Stakes(question="Buy it?", amount_cents=args.amount_cents)

        async def settle(call: Call[World], intent: Intent, entries: Sequence[Entry]) -> Settled:
            shop.looks.append((call.user_id, call.idempotency_key, entries))
            if shop.during_look is not None:
                await shop.during_look()
            found = shop.finds.pop(0) if len(shop.finds) > 1 else shop.finds[0]
            if isinstance(found, Exception):
                raise found
            return found

        @tool(title="Buy", toolset="cards", effect=Effect.MONEY, stakes=stakes, settle=settle)
        async def buy(call: Call[World], args: Order) -> Bought:
            """Buy it."""
            shop.runs += 1
            entry_id = await shop.send(call.idempotency_key)
            if shop.during_run is not None:
                await shop.during_run()
            assert shop.home is not None
            await shop.home.guard.journal.end(entry_id, "done", reference="card-0001")
            return Bought(card_id=Opaque("card-0001"))

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
    raise Refusal(Code.OUTCOME_UNKNOWN)


async def granted(home: House, client: Any) -> str:
    """The id of a granted call."""
    asked = body(await client.call_tool("buy", ARGUMENTS))
    assert asked["code"] == "approval.required"
    await home.intents.grant(asked["approval_id"], "terminal")
    return str(asked["approval_id"])


async def cut_short(
    shop: Shop, *, sent: Any = "unknown", only: Any = None, owner: str | None = "", digest: str = "digest-1"
) -> Intent:
    """An intent that was taken, by a process that is gone, with what the journal has of it."""
    home = home_of(shop)
    demand = Demand("buy", Effect.MONEY, "user-1", digest)
    intent = await home.intents.open(demand, Stakes("Buy it?", only=only))
    await home.intents.grant(intent.id, "terminal")
    assert await home.intents.consume(intent)
    if sent is not None:
        with during(intent.id):
            await shop.send(intent.idempotency_key, sent)
    await home.guard.store.run(lambda db: db.execute("UPDATE intents SET owner = ? WHERE id = ?", (owner, intent.id)))
    return await now(home, intent)


async def now(home: House, intent: Intent) -> Intent:
    found = await home.intents.get(intent.id)
    assert found is not None
    return found


async def states(home: House, intent: Intent) -> list[str]:
    return [entry.state for entry in await home.guard.journal.of_intent(intent.id)]


# By the call that names it


async def test_the_repeated_call_gets_what_the_first_would_have_and_the_third_the_same(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [Done(Bought(card_id=Opaque("card-0007"), note="found"), "card-0007")]
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
    (entry,) = await home.guard.journal.of_intent(again["approval_id"])
    assert (entry.state, entry.reference, entry.settled_by) == ("done", "card-0007", "server")


async def test_what_was_not_done_runs_at_the_repeated_call_without_asking_anew(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [NotDone("Nothing was sent.")]
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        assert code(await client.call_tool("buy", again)) == "outcome.unknown"
        shop.during_run = None
        assert body(await client.call_tool("buy", again))["card_id"] == "card-0001"
    assert (shop.runs, len(shop.looks)) == (2, 1)
    (entry,) = await home.guard.journal.of_intent(again["approval_id"])
    assert (entry.state, entry.attempts, entry.settled_by) == ("done", 2, None)


async def test_a_grant_that_ran_out_meanwhile_is_over_and_says_that_nothing_happened(shop: Shop, clock: Clock) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [NotDone("Nothing was sent.")]
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
    shop.finds = [NotDone("Nothing was shown.")]
    intent = await cut_short(shop, sent=None, only="page")
    await home.guard.gate.settle(intent)
    assert (await now(home, intent)).state == "failed"


async def test_what_is_known_not_to_have_happened_is_closed_so(shop: Shop) -> None:
    home = home_of(shop)
    shop.finds = [NotDone("The card is as it was.")]
    intent = await cut_short(shop)
    await home.guard.gate.settle(intent)
    assert await states(home, intent) == ["rejected"]


async def test_what_a_look_sends_stands_under_the_intent(shop: Shop) -> None:
    home = home_of(shop)

    async def send() -> None:
        await shop.send("another-key", "done")

    shop.during_look, shop.finds = send, [Done(Bought(card_id=Opaque("card-0001")))]
    intent = await cut_short(shop)
    await home.guard.gate.settle(intent)
    assert await states(home, intent) == ["done", "done"]


async def test_what_a_person_must_say_stays_open_and_is_not_looked_into_again(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [Manual("Two cards could be it."), Done(Bought(card_id=Opaque("card-0001")))]
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        await client.call_tool("buy", again)
        told = [body(await client.call_tool("buy", again)) for _ in range(2)]
    assert told[0] == told[1]
    assert (told[0]["code"], told[0]["retryable"]) == ("outcome.unknown", False)
    assert "doctor --resolve" in told[0]["message"]
    assert len(shop.looks) == 1
    (entry,) = await home.guard.journal.of_intent(again["approval_id"])
    assert (entry.state, entry.note) == ("manual", "Two cards could be it.")
    left = await home.intents.get(again["approval_id"])
    assert left is not None
    assert left.state == "executing"


async def test_a_call_waits_while_it_can_be_told_soon(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [Later(0.01), Later(0.01), Done(Bought(card_id=Opaque("card-0001")))]
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        await client.call_tool("buy", again)
        assert body(await client.call_tool("buy", again))["card_id"] == "card-0001"
    assert len(shop.looks) == 3


async def test_a_call_does_not_wait_for_what_takes_longer_and_says_when_to_come_back(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [Later(reconciliation.CALL_SECONDS + 60, "It is being signed.")]
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        await client.call_tool("buy", again)
        told = body(await client.call_tool("buy", again))
    assert (told["code"], told["retryable"]) == ("outcome.unknown", True)
    assert told["retry_after_seconds"] == reconciliation.CALL_SECONDS + 60
    assert "It is being signed." in told["message"]
    assert told["next_steps"][0]["arguments"] == {"approval_id": again["approval_id"]}


@pytest.mark.parametrize(
    "error", [UpstreamError("canary-7f3a"), ValueError("canary-7f3a"), Refusal(Code.AUTH_REJECTED), StoreUnavailable()]
)
async def test_a_look_that_fails_settles_nothing_and_the_next_one_may(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(reconciliation, "CALL_SECONDS", 0.0)
    home = home_of(shop)
    shop.finds = [error, Done(Bought(card_id=Opaque("card-0001")))]
    intent = await cut_short(shop)
    passage = await home.guard.gate.settle(intent)
    assert passage is not None
    assert passage.verdict == "later"
    assert not home.intents.running(await now(home, intent))
    assert await home.guard.gate.settle(intent) is None
    assert (await now(home, intent)).state == "done"
    assert "canary" not in caplog.text


async def test_another_call_learns_nothing_of_it(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [Done(Bought(card_id=Opaque("card-0001")))]
    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        await client.call_tool("buy", again)
        assert code(await client.call_tool("buy", {**again, "amount_cents": 501})) == "approval.mismatch"
    assert shop.looks == []


async def test_of_many_that_name_it_at_once_one_looks_and_all_are_told(shop: Shop) -> None:
    home = home_of(shop)
    shop.during_run = lambda: lost(shop)
    shop.finds = [Done(Bought(card_id=Opaque("card-0001")))]
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

    shop.during_look, shop.finds = held, [Done(Bought(card_id=Opaque("card-0001")))]
    intent = await cut_short(shop)
    try:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(home_of(shop).settling.settle, intent)
                await begun.wait()
                await home_of(other).guard.gate.settle(intent)
                assert other.looks == []
                assert home_of(other).intents.running(await now(home_of(other), intent))
                go_on.set()
        assert (await now(home_of(other), intent)).state == "done"
    finally:
        home_of(other).guard.owners.close()
        await other_store.close()


async def test_who_gives_up_waiting_does_not_cut_it_short_once_more(shop: Shop) -> None:
    home = home_of(shop)
    begun = anyio.Event()
    scope = anyio.CancelScope()

    async def cancel() -> None:
        begun.set()
        scope.cancel()
        await anyio.lowlevel.checkpoint()

    shop.during_look, shop.finds = cancel, [Done(Bought(card_id=Opaque("card-0001")))]
    intent = await cut_short(shop)
    with anyio.fail_after(20), scope:
        await home.guard.gate.settle(intent)
    assert begun.is_set()
    assert (await now(home, intent)).state == "done"


async def test_what_was_taken_before_there_was_a_journal_is_for_a_person(shop: Shop, clock: Clock) -> None:
    home = home_of(shop)
    shop.finds = [NotDone("Nothing was sent.")]
    intent = await cut_short(shop, sent=None, owner=None)
    clock.advance(EXECUTION_SECONDS + 1)
    passage = await home.guard.gate.settle(intent)
    assert passage is not None
    assert passage.verdict == "manual"
    assert shop.looks == []


async def test_a_tool_that_can_not_find_out_leaves_it_to_a_person(store: Store, clock: Clock) -> None:
    home = house(store, clock)

    async def fail() -> None:
        raise ValueError

    home.world.after = fail
    async with home.client(MODERN) as client:
        asked = body(await client.call_tool("pay", ARGUMENTS))
        await home.intents.grant(asked["approval_id"], "terminal")
        again = {**ARGUMENTS, "approval_id": asked["approval_id"]}
        told = [body(await client.call_tool("pay", again)) for _ in range(2)]
    assert [each["code"] for each in told] == ["outcome.unknown"] * 2
    assert "doctor --resolve" in told[1]["message"]
    assert len(home.world.paid) == 1


async def test_a_journal_that_can_not_be_written_refuses_and_the_grant_is_good_still(
    shop: Shop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_of(shop)
    shop.finds = [NotDone("Nothing was sent.")]

    async def full(mutation: object) -> str:
        raise StoreUnavailable

    async with home.client(MODERN) as client:
        again = {**ARGUMENTS, "approval_id": await granted(home, client)}
        with monkeypatch.context() as patch:
            patch.setattr(home.guard.journal, "begin", full)
            assert code(await client.call_tool("buy", again)) == "state.unavailable"
        assert await home.guard.journal.of_intent(again["approval_id"]) == []
        assert body(await client.call_tool("buy", again))["card_id"] == "card-0001"


async def test_what_another_policy_let_through_is_looked_for_and_not_sent_again(shop: Shop) -> None:
    home = home_of(shop)
    shop.finds = [Done(Bought(card_id=Opaque("card-0001")))]
    sends, looks = await cut_short(shop), await cut_short(shop, digest="digest-2")
    await home.guard.store.run(lambda db: db.execute("UPDATE intents SET policy = 'another'"))

    async def send() -> None:
        await shop.send("another-key", "done")

    shop.during_look = send
    passage = await home.guard.gate.settle(await now(home, sends))
    assert passage is not None
    assert passage.verdict == "manual"
    assert await states(home, sends) == ["manual"]
    shop.during_look = None
    assert await home.guard.gate.settle(await now(home, looks)) is None
    assert (await now(home, looks)).state == "done"


# At the start


async def test_the_start_settles_all_that_was_cut_short(shop: Shop, store: Store) -> None:
    home = home_of(shop)
    shop.finds = [Later(0.01), Done(Bought(card_id=Opaque("card-0001")))]
    intent = await cut_short(shop)
    assert await store.read(anything_open)
    with anyio.fail_after(20):
        await home.settling.settle_all()
    assert (await now(home, intent)).state == "done"
    assert await states(home, intent) == ["done"]
    assert not await store.read(anything_open)


async def test_the_start_leaves_alone_what_another_server_is_at_work_on(shop: Shop, store: Store, clock: Clock) -> None:
    home = home_of(shop)
    shop.finds = [Done(Bought(card_id=Opaque("card-0001")))]
    other = Store(store.folder)
    try:
        there = house(other, clock, policy=default_policy("embedded", read_only=False))
        intent = await cut_short(shop, owner=await other.read(lambda _: there.guard.owners.own()))
        await home.settling.settle_all()
        assert shop.looks == []
        there.guard.owners.close()
        await home.settling.settle_all()
        assert (await now(home, intent)).state == "done"
    finally:
        await other.close()


async def test_the_start_closes_what_nobody_waits_for(shop: Shop, store: Store) -> None:
    home = home_of(shop)
    plain = await shop.send("plain-1")
    ended = await cut_short(shop, sent=None)
    with during(ended.id):
        of_ended = await shop.send("machines-x")
    await home.intents.finish(ended.id, "{}", ok=True, code="ok")
    manual = await shop.send("plain-2")
    await home.guard.journal.settle(manual, "manual", note="Look.")
    home.guard.owners.close()
    await home.settling.settle_all()
    assert [entry.id for entry in await home.guard.journal.unresolved()] == [manual]

    def rows(db: Any) -> dict[str, str]:
        return {row["id"]: row["state"] for row in db.execute("SELECT id, state FROM mutations")}

    found = await store.read(rows)
    assert (found[plain], found[of_ended]) == ("unknown", "done")


async def test_the_start_goes_on_for_a_bounded_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "START_SECONDS", 0.2)
    home = home_of(shop)
    shop.finds = [Later(0.01)]
    intent = await cut_short(shop)
    with anyio.fail_after(20):
        await home.settling.settle_all()
    assert (await now(home, intent)).state == "executing"
    assert not home.intents.running(await now(home, intent))


async def test_where_nothing_is_open_nothing_is_looked_for(store: Store, shop: Shop) -> None:
    assert not await store.read(anything_open)
    await home_of(shop).settling.settle_all()
    assert shop.looks == []


async def test_the_points_are_passed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = await cut_short(shop)
    passed: list[str] = []
    monkeypatch.setattr(failpoints, "hook", passed.append)
    shop.finds = [Done(Bought(card_id=Opaque("card-0001")))]
    await home_of(shop).guard.gate.settle(intent)
    assert [name for name in passed if name.startswith(("settling", "outcome"))] == [
        "settling.begun",
        "outcome.kept",
        "settling.ended",
    ]

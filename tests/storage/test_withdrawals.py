from __future__ import annotations

import anyio
import pytest

from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.storage.withdrawal_rows import open_withdrawals
from machines_mcp.storage.withdrawals import QUOTE_SECONDS, Destination, Quote, Withdrawals
from tests.support.clock import Clock
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

TERMS = {"amount_cents": 1250, "currency": "usdc", "address": "0xabc", "extra_id": None, "estimated_to_amount": 12.31}


@pytest.fixture
def withdrawals(store: Store, clock: Clock) -> Withdrawals:
    return Withdrawals(store, clock)


async def shown(store: Store) -> list[tuple[str, str]]:
    return [(each.id, each.status) for each in await store.read(lambda db: open_withdrawals(db, ANY_USER))]


async def begun_for(withdrawals: Withdrawals, quote: Quote, approval_id: str) -> str | None:
    return await withdrawals.begin(quote, approval_id)


async def test_quote_is_returned_unchanged_to_its_user_only(withdrawals: Withdrawals) -> None:
    quote = await withdrawals.quote("user-1", TERMS)
    found = await withdrawals.find_quote("user-1", quote.id)
    assert found is not None
    assert found.terms == TERMS
    assert await withdrawals.find_quote("user-2", quote.id) is None
    assert await withdrawals.find_quote("user-1", "quote_" + "0" * 32) is None


async def test_quote_lives_ten_minutes(withdrawals: Withdrawals, store: Store, clock: Clock) -> None:
    quote = await withdrawals.quote("user-1", TERMS)
    clock.advance(QUOTE_SECONDS - 1)
    assert withdrawals.live(quote)
    clock.advance(1)
    assert not withdrawals.live(quote)
    assert await withdrawals.begin(quote, None) is None
    assert await store.read(lambda db: open_withdrawals(db, ANY_USER)) == []


async def test_one_of_many_withdrawals_on_a_quote_begins(withdrawals: Withdrawals) -> None:
    quote = await withdrawals.quote("user-1", TERMS)
    begun: list[str] = []

    async def begin() -> None:
        new_id = await withdrawals.begin(quote, None)
        if new_id is not None:
            begun.append(new_id)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(begin)
    assert len(begun) == 1
    used = await withdrawals.find_quote("user-1", quote.id)
    assert used is not None
    assert used.used_by == begun[0]
    assert not withdrawals.live(used)


@pytest.mark.parametrize(
    ("status", "is_open"), [("pending", True), ("unknown", True), ("ready", False), ("rejected", False)]
)
async def test_withdrawal_stays_open_until_its_outcome_is_known(
    withdrawals: Withdrawals, store: Store, status: str, is_open: bool
) -> None:
    new_id = await withdrawals.begin(await withdrawals.quote("user-1", TERMS), None)
    assert new_id is not None
    assert await shown(store) == [(new_id, "requested")]
    await withdrawals.record(new_id, status)
    assert await shown(store) == ([(new_id, status)] if is_open else [])


async def test_later_status_does_not_erase_a_recorded_execution(withdrawals: Withdrawals, store: Store) -> None:
    new_id = await withdrawals.begin(await withdrawals.quote("user-1", TERMS), None)
    assert new_id is not None
    await withdrawals.record(new_id, "ready", {"chain_id": 8453})
    await withdrawals.record(new_id, "sent")
    row = await store.read(lambda db: tuple(db.execute("SELECT status, execution FROM withdrawals").fetchone()))
    assert row == ("sent", '{"chain_id": 8453}')


async def test_released_quote_can_be_reused_and_its_first_attempt_is_closed(
    withdrawals: Withdrawals, store: Store
) -> None:
    quote, other = await withdrawals.quote("user-1", TERMS), await withdrawals.quote("user-1", TERMS)
    first, held = await withdrawals.begin(quote, None), await withdrawals.begin(other, None)
    assert first is not None
    await withdrawals.release(first)
    assert await shown(store) == [(held, "requested")]
    second = await withdrawals.begin(quote, None)
    assert second not in (None, first)
    assert await withdrawals.begin(quote, None) is None
    assert await withdrawals.begin(other, None) is None


async def test_withdrawal_is_found_by_its_approval(withdrawals: Withdrawals, clock: Clock) -> None:
    quote, other = (
        await withdrawals.quote("user-1", TERMS),
        await withdrawals.quote("user-1", TERMS | {"extra_id": "7"}),
    )
    first = await begun_for(withdrawals, quote, "approval-1")
    assert first is not None
    await begun_for(withdrawals, other, "approval-2")
    assert await withdrawals.for_approval("approval-3") is None
    await withdrawals.record(first, "pending", {"status": "pending"})
    clock.advance(QUOTE_SECONDS)
    found = await withdrawals.for_approval("approval-1")
    assert found is not None
    assert (found.id, found.status, found.answer) == (first, "pending", {"status": "pending"})
    assert found.quote.terms == TERMS


async def test_latest_attempt_of_an_approval_counts(withdrawals: Withdrawals) -> None:
    quote = await withdrawals.quote("user-1", TERMS)
    first = await begun_for(withdrawals, quote, "approval-1")
    assert first is not None
    await withdrawals.release(first)
    second = await begun_for(withdrawals, quote, "approval-1")
    found = await withdrawals.for_approval("approval-1")
    assert found is not None
    assert (found.id, found.status) == (second, "requested")


@pytest.mark.parametrize(("status", "times"), [("ready", 1), ("unknown", 1), ("rejected", 0), ("not_begun", 0)])
async def test_destination_counts_as_used_if_money_may_have_gone_there(
    withdrawals: Withdrawals, status: str, times: int
) -> None:
    terms = TERMS | {"network": "base"}
    begun = await withdrawals.begin(await withdrawals.quote("user-1", terms), None)
    assert begun is not None
    await withdrawals.record(begun, status)
    found = await withdrawals.destinations("user-1")
    assert [one.destination for one in found] == [Destination("usdc", "base", "0xabc")] * times
    assert await withdrawals.destinations("user-2") == []

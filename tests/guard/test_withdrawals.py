from __future__ import annotations

import anyio
import pytest

from machines_mcp.guard.store import Store
from machines_mcp.guard.withdrawals import QUOTE_SECONDS, Withdrawals, open_withdrawals
from tests.guard.clock import Clock

pytestmark = pytest.mark.anyio

TERMS = {"amount_cents": 1250, "currency": "usdc", "address": "0xabc", "extra_id": None, "estimated_to_amount": 12.31}


@pytest.fixture
def withdrawals(store: Store, clock: Clock) -> Withdrawals:
    return Withdrawals(store, clock)


async def test_a_quote_comes_back_word_for_word_to_its_user_and_to_nobody_else(withdrawals: Withdrawals) -> None:
    quote = await withdrawals.quote("user-1", TERMS)
    found = await withdrawals.find_quote("user-1", quote.id)
    assert found is not None
    assert found.terms == TERMS
    assert await withdrawals.find_quote("user-2", quote.id) is None
    assert await withdrawals.find_quote("user-1", "quote_" + "0" * 32) is None


async def test_a_quote_lives_ten_minutes(withdrawals: Withdrawals, store: Store, clock: Clock) -> None:
    quote = await withdrawals.quote("user-1", TERMS)
    clock.advance(QUOTE_SECONDS - 1)
    assert withdrawals.live(quote)
    clock.advance(1)
    assert not withdrawals.live(quote)
    assert await withdrawals.begin(quote) is None
    assert await store.read(open_withdrawals) == []


async def test_of_many_withdrawals_on_one_quote_one_begins(withdrawals: Withdrawals) -> None:
    quote = await withdrawals.quote("user-1", TERMS)
    begun: list[str] = []

    async def begin() -> None:
        new_id = await withdrawals.begin(quote)
        if new_id is not None:
            begun.append(new_id)

    with anyio.fail_after(20):
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
async def test_a_withdrawal_stays_open_until_its_outcome_is_known(
    withdrawals: Withdrawals, store: Store, status: str, is_open: bool
) -> None:
    new_id = await withdrawals.begin(await withdrawals.quote("user-1", TERMS))
    assert new_id is not None
    assert await store.read(open_withdrawals) == [(new_id, "requested")]
    await withdrawals.record(new_id, status)
    assert await store.read(open_withdrawals) == ([(new_id, status)] if is_open else [])


async def test_what_was_recorded_of_an_execution_is_not_lost_by_a_later_status(
    withdrawals: Withdrawals, store: Store
) -> None:
    new_id = await withdrawals.begin(await withdrawals.quote("user-1", TERMS))
    assert new_id is not None
    await withdrawals.record(new_id, "ready", {"chain_id": 8453})
    await withdrawals.record(new_id, "sent")
    row = await store.read(lambda db: tuple(db.execute("SELECT status, execution FROM withdrawals").fetchone()))
    assert row == ("sent", '{"chain_id": 8453}')


async def test_a_released_quote_can_be_used_once_more_and_its_first_try_is_not_open(
    withdrawals: Withdrawals, store: Store
) -> None:
    quote, other = await withdrawals.quote("user-1", TERMS), await withdrawals.quote("user-1", TERMS)
    first, held = await withdrawals.begin(quote), await withdrawals.begin(other)
    assert first is not None
    await withdrawals.release(first)
    assert await store.read(open_withdrawals) == [(held, "requested")]
    second = await withdrawals.begin(quote)
    assert second not in (None, first)
    assert await withdrawals.begin(quote) is None
    assert await withdrawals.begin(other) is None

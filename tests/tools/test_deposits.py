"""Deposits."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from tests.support.tool_caller import caller
from tests.support.waiting import SHORTER_THAN_A_WAIT

pytestmark = pytest.mark.anyio


async def test_deposit_out_of_range_is_quoted_with_the_range_only(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        quote = await c.call("quote_deposit", currency="rusd", network="base", amount=0.000001)
        assert (quote["within_range"], "estimated_to_amount" in quote) == (False, False)
        assert quote["min_amount"] > 0.000001
        step = quote["next_steps"][0]
        assert (step["tool"], step["arguments"]) == ("quote_deposit", {"currency": "rusd", "network": "base"})


async def test_deposit_on_a_memo_network_has_a_memo(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        assets = (await c.call("list_deposit_assets", limit=100))["assets"]
        takers = [(a["currency"], n["id"]) for a in assets for n in a["networks"] if n.get("takes_memo")]
        assert takers
        for currency, network in takers:
            deposit = await c.call("create_deposit", currency=currency, network=network, amount=50)
            assert deposit["memo"] and deposit["deposit_address"], currency
            assert "deposit_address with its memo, then" in deposit["next_steps"][0]["why"]


async def test_a_deposit_without_a_memo_names_none(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        deposit = await c.call("create_deposit", currency="rusd", network="base", amount=50)
        assert "deposit_address, then" in deposit["next_steps"][0]["why"]


async def test_deposit_wait_ends_on_arrival_and_immediately_on_cancellation(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        deposit = await c.call("create_deposit", currency="rusd", network="base", amount=10)
        with anyio.move_on_after(0.3) as scope:
            await c.call("get_deposit", deposit_id=deposit["deposit_id"], wait_seconds=50)
        assert scope.cancelled_caught
        with anyio.fail_after(SHORTER_THAN_A_WAIT):
            arrived = await c.call("get_deposit", deposit_id=deposit["deposit_id"], wait_seconds=50)
        assert arrived["status"] == "completed"


async def test_quote_without_an_amount_returns_the_range(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        quote = await c.call("quote_deposit", currency="rusd", network="base")
        assert quote["min_amount"] > 0
        assert not {"amount", "within_range", "estimated_to_amount"} & quote.keys()
        (step,) = quote["next_steps"]
        assert (step["tool"], step["arguments"]) == ("create_deposit", {"currency": "rusd", "network": "base"})

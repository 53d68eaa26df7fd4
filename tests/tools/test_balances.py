"""Balances and transactions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tool_caller import caller
from tests.tools.test_withdrawals import funded

pytestmark = pytest.mark.anyio


async def test_spends_are_listed_newest_first_by_page(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        card = (await c.call("create_card"))["card_id"]
        for cents in (100, 200, 300):
            await c.control("/spend", cardId=card, amountCents=cents, merchantName=f"Shop \x1b[31m{cents}")
        page = await c.call("list_transactions", types=["spend"], limit=2)
        assert [t["amount_cents"] for t in page["transactions"]] == [300, 200]
        assert page["transactions"][0]["merchant_name"] == "Shop 300"
        rest = await c.call("list_transactions", types=["spend"], limit=2, cursor=page["next_cursor"])
        assert [t["amount_cents"] for t in rest["transactions"]] == [100]
        assert "next_cursor" not in rest
        assert (await c.call("get_balances"))["spending_power_cents"] == 94_00

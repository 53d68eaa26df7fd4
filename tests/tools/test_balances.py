"""Balances and transactions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.tool_caller import ToolCaller, caller
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


BALANCES = {
    "spendingPower": "spending_power_cents",
    "creditLimit": "credit_limit_cents",
    "pendingCharges": "pending_charges_cents",
    "postedCharges": "posted_charges_cents",
    "balanceDue": "balance_due_cents",
}
ODD: list[Any] = [None, "", "100", True, 1.5, [], {}, [100], 2**70]


async def show(c: ToolCaller, *patch: dict[str, Any]) -> dict[str, Any]:
    await c.control("/faults", kind="patch", path="/balances", exact=True, patch=list(patch))
    return await c.call("get_balances")


async def test_one_odd_balance_hides_no_other(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        whole = await c.call("get_balances")
        assert set(BALANCES.values()) < set(whole)
        for name, shown in BALANCES.items():
            place = f"/data/balances/{name}"
            for patch in [
                {"op": "remove", "path": place},
                *({"op": "replace", "path": place, "value": v} for v in ODD),
            ]:
                found = await show(c, patch)
                hidden = {shown} | ({"next_steps"} if shown == "spending_power_cents" else set())
                assert found == {key: value for key, value in whole.items() if key not in hidden} | (
                    {"next_steps": []} if "next_steps" in hidden else {}
                ), patch


async def test_no_readable_balance_is_a_malformed_response(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        values: list[Any] = [{}, [], None, dict.fromkeys(BALANCES, "?")]
        for value in values:
            found = await show(c, {"op": "replace", "path": "/data/balances", "value": value})
            assert found["code"] == "partner.malformed"

"""Withdrawals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.partner import Withdrawal
from machines_mcp.partner.errors import RateLimited
from machines_mcp.partner.resources.withdrawals import Withdrawals
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio

ADDRESS = "0x" + "ef" * 20


async def funded(c: ToolCaller, amount: int = 100) -> None:
    """Return a user with this many dollars to spend."""
    await c.approved()
    deposit = await c.call("create_deposit", currency="rusd", network="base", amount=amount)
    await c.control("/deposits", depositId=deposit["deposit_id"])


async def test_withdrawal_out_of_range_is_rejected_with_the_range(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        terms = {"currency": "rusd", "network": "base", "address": ADDRESS}
        error = await c.call("quote_withdrawal", amount_cents=1, **terms)
        assert error["code"] == "input.invalid"
        assert [f["field"] for f in error["fields"]] == ["amount_cents"]
        assert error["fields"][0]["rule"].startswith("must be at least ")


async def test_memo_for_a_network_without_memos_is_rejected(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        terms = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": ADDRESS}
        error = await c.call("quote_withdrawal", **terms, extra_id="12345")
        assert [f["field"] for f in error["fields"]] == ["extra_id"]


async def test_withdrawal_follows_its_quote_regardless_of_other_arguments(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        terms = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": ADDRESS}
        quote = await c.call("quote_withdrawal", **terms)
        for extra in ({"amount_cents": 9900}, {"address": "0x" + "00" * 20}):
            error = await c.call("create_withdrawal", quote_id=quote["quote_id"], **extra)
            assert error["code"] == "input.invalid"
        made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
        assert (made["status"], made["amount_cents"]) == ("ready", 2500)
        assert (await c.call("get_balances"))["spending_power_cents"] == 75_00


RATE_LIMITED = {
    "kind": "status",
    "path": "/withdrawals",
    "method": "POST",
    "exact": True,
    "status": 429,
    "retryAfter": 600,
}


async def test_withdrawal_that_did_not_begin_reuses_its_approval_and_quote(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        quote = await c.call("quote_withdrawal", amount_cents=2500, currency="rusd", network="base", address=ADDRESS)
        await c.control("/faults", **RATE_LIMITED)
        refused = await c.call("create_withdrawal", quote_id=quote["quote_id"])
        assert refused["code"] == "rate.limited"
        assert (await c.call("status"))["unresolved"] == []
        again = {"quote_id": quote["quote_id"], "approval_id": refused["approval_id"]}
        made = await c.call("create_withdrawal", **again)
        assert made["status"] == "ready"
        assert await c.call("create_withdrawal", **again) == made
        assert (await c.call("get_balances"))["spending_power_cents"] == 75_00


async def test_failed_poll_does_not_reject_a_withdrawal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, answers = Withdrawals.create, list[str]()

    async def create(self: Withdrawals, *args: Any, **options: Any) -> Withdrawal:
        answers.append("asked")
        if len(answers) == 2:
            raise RateLimited
        return await real(self, *args, **options)

    async with caller(tmp_path) as c:
        await funded(c)
        quote = await c.call("quote_withdrawal", amount_cents=2500, currency="rusd", network="base", address=ADDRESS)
        monkeypatch.setattr(Withdrawals, "create", create)
        made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
        assert made["status"] == "ready"
        assert len(answers) == 3
        assert (await c.call("status"))["unresolved"] == []

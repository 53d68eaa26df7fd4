"""Withdrawals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.cli.approvals import format_approval
from machines_mcp.partner import Withdrawal
from machines_mcp.partner.errors import RateLimited
from machines_mcp.partner.resources.withdrawals import Withdrawals
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from tests.support.in_process import in_process_sandbox
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio

ADDRESS = "0x" + "ef" * 20
BITCOIN = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"  # BIP 173


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


@pytest.mark.parametrize(
    ("amount_cents", "currency", "network", "address", "arrives"),
    [
        (5_00, "btc", "bitcoin", BITCOIN, "0.000055 btc"),
        (40_000_00, "usdc", "ethereum", ADDRESS, "39,600 usdc"),
        (1_234_56, "hbar", "hbar", "0.0.1234567", "8,148.096 hbar"),
    ],
)
async def test_person_reads_amounts_as_plain_decimals(
    tmp_path: Path, amount_cents: int, currency: str, network: str, address: str, arrives: str
) -> None:
    async with in_process_sandbox() as sandbox:
        async with caller(tmp_path, sandbox=sandbox) as c:
            await funded(c, 50_000)
        async with caller(tmp_path, sandbox=sandbox, answer=None) as c:
            terms = {"currency": currency, "network": network, "address": address}
            quote = await c.call("quote_withdrawal", amount_cents=amount_cents, **terms)
            await c.call("create_withdrawal", quote_id=quote["quote_id"])
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path)}
        async with open_guard(read_settings(env)) as guard:
            (waiting,) = await guard.channels.waiting()
    shown = format_approval(waiting)
    assert f"About {arrives} will arrive" in waiting.question
    assert f"about {arrives}" in [item.value for item in waiting.details.items]
    assert f"${amount_cents / 100:,.2f}" in waiting.question
    assert not re.search(r"[0-9]e-[0-9]|[0-9][.]0 |[0-9]{4}[.]", shown.replace(address, ""))

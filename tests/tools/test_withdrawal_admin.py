"""A withdrawal from an EVM chain names the wallet that will send it, in its quote and in the person's question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.cli.approvals import waiting_approvals
from machines_mcp.server.settings_reader import read_settings
from tests.support.tool_caller import WALLET, ToolCaller, caller
from tests.tools.test_withdrawals import SOLANA, link_solana

pytestmark = pytest.mark.anyio

TERMS = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": "0x" + "ef" * 20}
OTHER = "0x" + "ab" * 20
TOKEN = "0x" + "1c" * 20


async def ready(c: ToolCaller) -> None:
    """Let the user spend 100 dollars, without a linked wallet."""
    async with c.sandbox.client() as partner:
        await partner.users.resolve("tool-user")
        await c.control("/kyc", userId="tool-user", decision="approved")
        await partner.agreements.accept("tool-user")
        deposit = await partner.deposits.create("tool-user", "rusd", "base", amount=100)
    await c.control("/deposits", depositId=deposit.id)


@pytest.mark.parametrize("source", [{}, {"source_chain_id": 84532}, {"source_token_address": TOKEN}])
async def test_no_wallet_is_refused_on_the_argument(tmp_path: Path, source: dict[str, Any]) -> None:
    async with caller(tmp_path) as c:
        await ready(c)
        error = await c.call("quote_withdrawal", **TERMS, **source)
        assert error["code"] == "input.invalid"
        (fault,) = error["fields"]
        assert fault["field"] == "admin_address"
        assert fault["rule"].startswith("is required: no EVM wallet is linked to the user.")


async def test_linked_wallet_is_in_the_quote_the_question_and_the_request(tmp_path: Path) -> None:
    async with caller(tmp_path, answer=None) as c:
        await ready(c)
        await c.sandbox.link_wallet("tool-user", WALLET)
        quote = await c.call("quote_withdrawal", **TERMS)
        assert quote["admin_address"] == WALLET
        waits = await c.call("create_withdrawal", quote_id=quote["quote_id"])
        assert waits["code"] == "approval.required"
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path)}
        ((approval,), _) = await waiting_approvals(read_settings(env))
        assert f"Sending wallet: {WALLET}" in approval.dialog().splitlines()


async def test_given_wallet_wins_over_the_linked_one(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await ready(c)
        await c.sandbox.link_wallet("tool-user", WALLET)
        assert (await c.call("quote_withdrawal", **TERMS, admin_address=OTHER))["admin_address"] == OTHER


async def test_solana_needs_no_wallet_and_takes_one_of_its_own(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await ready(c)
        await link_solana(c)
        for source in ({}, {"source_chain_id": 901}):
            assert "admin_address" not in await c.call("quote_withdrawal", **TERMS, **source)
        owner = await c.call("quote_withdrawal", **TERMS, source_chain_id=901, admin_address=SOLANA)
        assert owner["admin_address"] == SOLANA


@pytest.mark.parametrize(("source", "wallet"), [(84532, SOLANA), (901, OTHER)])
async def test_wallet_of_another_family_than_the_chain_that_pays_is_refused(
    tmp_path: Path, source: int, wallet: str
) -> None:
    async with caller(tmp_path) as c:
        await ready(c)
        error = await c.call("quote_withdrawal", **TERMS, source_chain_id=source, admin_address=wallet)
        assert [fault["field"] for fault in error["fields"]] == ["admin_address"]
        assert "must be a wallet on" in error["fields"][0]["rule"]

"""Which hash a withdrawal keeps: the one of its own transaction, whatever else is given, in whatever order."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.storage.database import Store
from machines_mcp.storage.transactions import Transactions
from tests.chain.fake_node import node, scripted
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_withdrawal_transaction import ADMIN, ready, sign

pytestmark = pytest.mark.anyio

ETHEREUM = 11_155_111
TERMS = {"currency": "usdc", "network": "ethereum", "source_chain_id": ETHEREUM}
OURS, OTHER = "0x" + "a1" * 32, "0x" + "b2" * 32
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
DECIMALS, IS_ADMIN, NONCE = "0x313ce567", "0x24d7806c", "0x70ae92d2"


def word(value: int | str) -> str:
    return "0x" + (f"{value:064x}" if isinstance(value, int) else value[2:].lower().rjust(64, "0"))


class Chain:
    """A node of Ethereum whose contracts accept everything. `mined` has the transactions by hash."""

    def __init__(self) -> None:
        self.mined: dict[str, dict[str, Any]] = {}
        self.nonce = 0
        self.is_admin = 1
        self.answer = scripted(
            {
                "eth_call": self._call,
                "eth_getTransactionReceipt": lambda given: self.mined.get(given[0]),
                "eth_getTransactionByHash": lambda given: self.mined.get(given[0]),
            },
            ETHEREUM,
        )

    def _call(self, given: list[Any]) -> str:
        known = {DECIMALS: 6, IS_ADMIN: self.is_admin, NONCE: self.nonce}
        return word(known.get(given[0]["data"][:10], 0))

    def mine(self, transaction_hash: str, plan: dict[str, Any], **changes: Any) -> None:
        """Mine the transaction of a plan, as one object that is its receipt as well."""
        call, sent = plan["call"], plan["transaction"]
        log = {
            "address": call["token"],
            "topics": [TRANSFER, word(call["collateral"]), word(call["recipient"])],
            "data": word(int(call["amount_base_units"])),
        }
        self.mined[transaction_hash] = {
            "hash": transaction_hash,
            "transactionHash": transaction_hash,
            "input": sent["data"],
            "from": sent["from"],
            "to": sent["to"],
            "status": "0x1",
            "blockNumber": "0x10",
            "logs": [log],
        } | changes


@asynccontextmanager
async def on_ethereum(folder: Path) -> AsyncIterator[tuple[ToolCaller, Chain]]:
    chain = Chain()
    async with (
        node(chain.answer) as url,
        caller(folder, more={f"MACHINES_RPC_URL_{ETHEREUM}": url}) as c,
    ):
        yield c, chain


@asynccontextmanager
async def opened_rows(folder: Path) -> AsyncIterator[Transactions]:
    store = Store(folder / "embedded")
    try:
        yield Transactions(store)
    finally:
        await store.close()


async def recorded(c: ToolCaller, known: dict[str, str]) -> tuple[str, str | None]:
    found = await c.call("get_withdrawal_transaction", **known)
    return found["stage"], found.get("transaction_hash")


async def test_a_wrong_hash_does_not_replace_the_one_that_was_sent(tmp_path: Path) -> None:
    async with on_ethereum(tmp_path) as (c, chain):
        known = {"withdrawal_id": await ready(c, **TERMS)}
        plan = await c.call("get_withdrawal_transaction", **known)
        assert (await c.call("confirm_withdrawal", **known, transaction_hash=OURS))["stage"] == "sent"
        chain.mine(OTHER, plan, input="0x")
        error = await c.call("confirm_withdrawal", **known, transaction_hash=OTHER)
        assert (error["code"], error["differs"]) == ("chain.refused", "function")
        assert await recorded(c, known) == ("sent", OURS)
        chain.mine(OURS, plan)
        assert (await c.call("confirm_withdrawal", **known, transaction_hash=OURS))["stage"] == "done"


async def test_a_transaction_that_reverted_leaves_no_hash(tmp_path: Path) -> None:
    async with on_ethereum(tmp_path) as (c, chain):
        known = {"withdrawal_id": await ready(c, **TERMS)}
        plan = await c.call("get_withdrawal_transaction", **known)
        chain.mine(OURS, plan, status="0x0", logs=[])
        for _ in range(2):
            assert (await c.call("confirm_withdrawal", **known, transaction_hash=OURS))["stage"] == "send"
            assert await recorded(c, known) == ("send", None)


async def test_a_late_answer_about_one_hash_leaves_a_newer_one(tmp_path: Path) -> None:
    async with on_ethereum(tmp_path) as (c, _):
        known = {"withdrawal_id": await ready(c, **TERMS)}
        async with opened_rows(tmp_path) as rows:
            await rows.sent(known["withdrawal_id"], OTHER)
            await rows.sent(known["withdrawal_id"], OURS)
            await rows.take_back(known["withdrawal_id"], OTHER)
        assert await recorded(c, known) == ("sent", OURS)


async def test_one_transaction_is_not_the_proof_of_two_withdrawals(tmp_path: Path) -> None:
    async with on_ethereum(tmp_path) as (c, chain):
        first = {"withdrawal_id": await ready(c, **TERMS)}
        plan = await c.call("get_withdrawal_transaction", **first)
        chain.mine(OURS, plan)
        assert (await c.call("confirm_withdrawal", **first, transaction_hash=OURS))["stage"] == "done"
        await c.control("/withdrawals", userId=c.user_id)
        second = {"withdrawal_id": await ready(c, **TERMS)}
        # Machines repeats what it signed before.
        with closing(sqlite3.connect(tmp_path / "embedded" / "state.db")) as db, db:
            (answer,) = db.execute(
                "SELECT execution FROM withdrawals WHERE id = ?", (first["withdrawal_id"],)
            ).fetchone()
            db.execute("UPDATE withdrawals SET execution = ? WHERE id = ?", (answer, second["withdrawal_id"]))
        error = await c.call("confirm_withdrawal", **second, transaction_hash=OURS.upper().replace("X", "x"))
        assert [fault["field"] for fault in error["fields"]] == ["transaction_hash"]
        assert await recorded(c, second) == ("send", None)
        assert (await c.call("confirm_withdrawal", **first, transaction_hash=OURS))["stage"] == "done"


async def test_a_hash_before_the_signature_does_not_keep_the_wallet_from_signing(tmp_path: Path) -> None:
    """The hash may be a mistake. If no wallet sent it, the typed data is still needed."""
    async with caller(tmp_path) as c:
        known = {"withdrawal_id": await ready(c)}
        assert (await c.call("confirm_withdrawal", **known, transaction_hash=OURS))["stage"] == "sent"
        # The nonce is not known, and no plan is needed to confirm it again.
        assert await recorded(c, known) == ("sent", OURS)
        found = await c.call("get_withdrawal_transaction", **known, admin_nonce="0")
        assert (found["stage"], found["transaction_hash"]) == ("sent", OURS)
        steps = [step["tool"] for step in found["next_steps"]]
        assert steps == ["confirm_withdrawal", "get_withdrawal_transaction"]
        signature = sign(found["typed_data"])
        sending = await c.call("get_withdrawal_transaction", **known, admin_signature=signature)
        assert (sending["stage"], sending["transaction_hash"]) == ("sent", OURS)
        assert signature[2:] in sending["transaction"]["data"]


async def test_a_block_beyond_all_numbers_is_no_block(tmp_path: Path) -> None:
    async with on_ethereum(tmp_path) as (c, chain):
        known = {"withdrawal_id": await ready(c, **TERMS)}
        chain.mine(OURS, await c.call("get_withdrawal_transaction", **known), blockNumber="0x" + "f" * 64)
        error = await c.call("confirm_withdrawal", **known, transaction_hash=OURS)
        assert error["code"] == "chain.unavailable"
        assert "not known" in error["message"] and "Nothing was moved" not in error["message"]
        assert await recorded(c, known) == ("sent", OURS)


async def test_a_check_that_fails_after_the_sending_does_not_say_that_nothing_moved(tmp_path: Path) -> None:
    async with on_ethereum(tmp_path) as (c, chain):
        known = {"withdrawal_id": await ready(c, **TERMS)}
        await c.call("confirm_withdrawal", **known, transaction_hash=OURS)
        chain.is_admin = 0
        error = await c.call("get_withdrawal_transaction", **known)
        assert (error["code"], error["check"]) == ("chain.refused", "admin")
        assert "This call moved nothing." in error["message"]


async def test_a_signature_counts_for_its_own_salt_only(tmp_path: Path) -> None:
    """Two calls at once, each with another nonce: neither leaves a signature that fits no salt."""
    async with caller(tmp_path) as c:
        known = {"withdrawal_id": await ready(c)}
        typed = (await c.call("get_withdrawal_transaction", **known, admin_nonce="0"))["typed_data"]
        async with opened_rows(tmp_path) as rows:
            late = bytes.fromhex(typed["domain"]["salt"][2:])
            await rows.salt(known["withdrawal_id"], 1)
            await rows.planned(known["withdrawal_id"], ADMIN.address, 0, late, bytes.fromhex(sign(typed)[2:]))
        found = await c.call("get_withdrawal_transaction", **known)
        assert (found["stage"], found["typed_data"]["message"]["nonce"]) == ("sign", "1")


async def test_a_second_sending_that_reverted_does_not_say_that_nothing_was_paid(tmp_path: Path) -> None:
    async with on_ethereum(tmp_path) as (c, chain):
        known = {"withdrawal_id": await ready(c, **TERMS)}
        plan = await c.call("get_withdrawal_transaction", **known)
        chain.mine(OURS, plan)
        chain.mine(OTHER, plan, status="0x0", logs=[])
        chain.nonce = 1
        error = await c.call("confirm_withdrawal", **known, transaction_hash=OTHER)
        assert error["code"] == "withdrawal.stale"
        assert "may have paid" in error["message"]
        assert (await c.call("confirm_withdrawal", **known, transaction_hash=OURS))["stage"] == "done"


async def test_a_call_of_another_kind_that_moves_the_money_is_said_to_move_it(tmp_path: Path) -> None:
    """As a contract wallet makes it: the server can't verify the call, but must not invite to pay twice."""
    async with on_ethereum(tmp_path) as (c, chain):
        known = {"withdrawal_id": await ready(c, **TERMS)}
        plan = await c.call("get_withdrawal_transaction", **known)
        chain.mine(OURS, plan, input="0x12345678", to="0x" + "5a" * 20)
        error = await c.call("confirm_withdrawal", **known, transaction_hash=OURS)
        assert (error["code"], error["differs"]) == ("chain.refused", "to, function")
        assert "do not withdraw it again" in error["message"]
        chain.mine(OTHER, plan, input="0x12345678", logs=[])
        error = await c.call("confirm_withdrawal", **known, transaction_hash=OTHER)
        assert "transfer" in error["differs"] and "again" not in error["message"]

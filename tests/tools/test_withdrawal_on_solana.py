"""A withdrawal on Solana through the tools and the person's page: planned, shown, and confirmed by its signature."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from solders.pubkey import Pubkey
from solders.transaction import Transaction

from machines_mcp.chain.solana import SYSTEM_PROGRAM, SolanaWithdrawal
from machines_mcp.chain.solana_rpc import CAIP2
from tests.support.solana_cluster import BLOCKHASH, FakeCluster, account, fake_cluster
from tests.support.solana_world import OWNER, key, signed
from tests.support.tool_caller import ToolCaller, caller
from tests.support.waiting import PATIENCE
from tests.tools.test_withdrawals import SOLANA, funded, link_solana

pytestmark = pytest.mark.anyio

DEVNET, CENTS = 901, 500


@asynccontextmanager
async def on_solana(folder: Path) -> AsyncIterator[tuple[ToolCaller, FakeCluster]]:
    """A user with a Solana wallet, and a devnet node that the operator has set."""
    async with fake_cluster() as cluster:
        cluster.answers["getGenesisHash"] = lambda _: CAIP2[DEVNET].removeprefix("solana:")
        async with caller(folder, more={f"MACHINES_RPC_URL_{DEVNET}": cluster.url}) as c:
            await funded(c)
            await link_solana(c)
            yield c, cluster


async def ready(c: ToolCaller, cluster: FakeCluster, **changes: Any) -> tuple[str, SolanaWithdrawal]:
    """Return the id of a withdrawal that an executor known to the test has signed, as it is on the chain."""
    expires_at = int(time.time()) + 1500
    withdrawal = signed(amount=CENTS * 10_000, recipient=Pubkey.from_string(SOLANA), expires_at=expires_at, **changes)
    cluster.holds(withdrawal)
    cluster.accounts[SOLANA] = account(SYSTEM_PROGRAM, b"")
    signature = base64.b64encode(withdrawal.signature).decode()
    parameters = [
        str(withdrawal.collateral),
        str(withdrawal.mint),
        str(withdrawal.amount),
        SOLANA,
        expires_at,
        list(withdrawal.salt),
        signature,
    ]
    execution = {
        "collateralProxyAddress": str(withdrawal.collateral),
        "coordinatorAddress": str(withdrawal.coordinator),
        "callTarget": str(withdrawal.program),
    }
    patch = [
        {"op": "replace", "path": "/data/parameters", "value": parameters},
        {"op": "replace", "path": "/data/signature", "value": {"data": signature, "salt": list(withdrawal.salt)}},
        {"op": "replace", "path": "/data/expiresAt", "value": expires_at},
        *({"op": "replace", "path": f"/data/execution/{name}", "value": value} for name, value in execution.items()),
    ]
    await c.control("/faults", kind="patch", path="/withdrawals", method="POST", exact=True, patch=patch, calls=9)
    terms = {"currency": "rusd", "network": "solana", "address": SOLANA, "amount_cents": CENTS}
    quote = await c.call("quote_withdrawal", **terms, source_chain_id=DEVNET)
    made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
    assert made["status"] == "ready", made
    return made["withdrawal_id"], withdrawal


def executed(transaction_base64: str) -> Transaction:
    """Return the transaction, signed by the owner's wallet."""
    made = Transaction.from_bytes(base64.b64decode(transaction_base64))
    made.sign([OWNER], made.message.recent_blockhash)
    return made


def described(made: Transaction, withdrawal: SolanaWithdrawal) -> dict[str, Any]:
    """Return an executed transaction as a node describes it."""
    gained = {"mint": str(withdrawal.mint), "owner": SOLANA, "uiTokenAmount": {"amount": str(withdrawal.amount)}}
    meta = {"err": None, "preTokenBalances": [], "postTokenBalances": [gained]}
    text = base64.b64encode(bytes(made)).decode()
    return {"slot": 4_242, "meta": meta, "transaction": [text, "base64"], "version": "legacy"}


async def test_the_owner_signs_the_transaction_and_its_signature_confirms_it(tmp_path: Path) -> None:
    async with on_solana(tmp_path) as (c, cluster):
        withdrawal_id, withdrawal = await ready(c, cluster)
        plan = await c.call("get_withdrawal_transaction", withdrawal_id=withdrawal_id)
        assert (plan["stage"], plan["from"], plan["caip2"]) == ("send", str(OWNER.pubkey()), CAIP2[DEVNET])
        assert (plan["blockhash"], plan["last_valid_block_height"]) == (BLOCKHASH, 3_090)
        assert {"signature", "nonce", "simulated", "calldata", "admin"} <= set(plan["verified"])
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            page = (await http.get(plan["sign_at"])).text
        assert f">{plan['transaction_base64']}</textarea>" in page
        made = executed(plan["transaction_base64"])
        signature = str(made.signatures[0])
        waits = await c.call("confirm_withdrawal", withdrawal_id=withdrawal_id, transaction_hash=signature)
        assert (waits["stage"], waits["verified"]) == ("sent", False)
        cluster.answers["getTransaction"] = lambda _: described(made, withdrawal)
        done = await c.call("confirm_withdrawal", withdrawal_id=withdrawal_id, transaction_hash=signature)
        assert (done["stage"], done["verified"]) == ("done", True)


async def test_what_the_chain_says_decides(tmp_path: Path) -> None:
    async with on_solana(tmp_path) as (c, cluster):
        withdrawal_id, withdrawal = await ready(c, cluster)
        cluster.holds(signed(nonce=withdrawal.nonce + 1, recipient=withdrawal.recipient))
        stale = await c.call("get_withdrawal_transaction", withdrawal_id=withdrawal_id)
        assert stale["code"] == "withdrawal.stale"
        cluster.holds(withdrawal)
        cluster.accounts[str(withdrawal.coordinator)]["owner"] = str(key(77))
        refused = await c.call("get_withdrawal_transaction", withdrawal_id=withdrawal_id)
        assert (refused["code"], refused["check"]) == ("chain.refused", "target")
        # The node's address has an access key.
        cluster.answers["simulateTransaction"] = lambda _: "odd"
        cluster.holds(withdrawal)
        down = await c.call("get_withdrawal_transaction", withdrawal_id=withdrawal_id)
        assert down["code"] == "chain.unavailable" and "key-in-the-path" not in str(down)

"""Test the plan of a withdrawal on Solana: what it reads, which checks it makes, and when it refuses."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from solders.transaction import Transaction

from machines_mcp.chain.checks import NAMES, PlanRequest
from machines_mcp.chain.faults import CheckFailed, Expired, RpcUnavailable, Stale, Unsupported
from machines_mcp.chain.solana import SYSTEM_PROGRAM, SolanaWithdrawal, unsigned_transaction
from machines_mcp.chain.solana_accounts import MULTISIG_COLLATERAL
from machines_mcp.chain.solana_plan import SolanaPlan, make_solana_plan
from machines_mcp.chain.solana_rpc import SolanaRpc
from machines_mcp.chain.terms import Approved, KnownChain
from machines_mcp.redaction.secret import Secret
from tests.support.solana_cluster import BLOCKHASH, FakeCluster, account, fake_cluster
from tests.support.solana_world import (
    AMOUNT,
    DECIMALS,
    EXECUTOR,
    EXPIRES_AT,
    NONCE,
    OWNER,
    TOKEN,
    collateral_data,
    coordinator_data,
    key,
    mint_data,
    signed,
    token_account_data,
)

pytestmark = pytest.mark.anyio

MAINNET_ID, CENTS = 900, 100


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with fake_cluster() as running:
        running.holds(signed())
        yield running


@pytest.fixture
async def rpc(cluster: FakeCluster) -> AsyncIterator[SolanaRpc]:
    opened = SolanaRpc(Secret(cluster.url), MAINNET_ID)
    yield opened
    await opened.aclose()


def answer(withdrawal: SolanaWithdrawal, **execution: Any) -> dict[str, Any]:
    """Return the API's answer as it is stored."""
    return {
        "status": "ready",
        "parameters": [
            str(withdrawal.collateral),
            str(withdrawal.mint),
            str(withdrawal.amount),
            str(withdrawal.recipient),
            str(withdrawal.expires_at),
            base64.b64encode(withdrawal.salt).decode(),
            base64.b64encode(withdrawal.signature).decode(),
        ],
        "signature": {"data": base64.b64encode(withdrawal.signature).decode()},
        "expires_at": withdrawal.expires_at,
        "execution": {
            "chain_id": MAINNET_ID,
            "collateral_proxy_address": str(withdrawal.collateral),
            "controller_address": None,
            "coordinator_address": str(withdrawal.coordinator),
            "call_target": str(withdrawal.program),
            "call_path": "solana_v2_02",
        }
        | execution,
        "relay": None,
    }


def request(withdrawal: SolanaWithdrawal | None = None, *, execution: Any = None, **changes: Any) -> PlanRequest:
    """Return a request for a plan in production, with everything in the policy."""
    found = withdrawal or signed()
    approved = Approved(amount_cents=CENTS, currency="usdc", network="solana", address=str(key(13)))
    given = PlanRequest(
        answer=answer(found, **(execution or {})),
        approved=approved,
        consumed=True,
        now=EXPIRES_AT - 600.0,
        known=KnownChain(targets=frozenset({str(key(10))}), tokens={str(key(14)): DECIMALS}),
        production=True,
    )
    return replace(given, **changes)


async def test_a_plan_is_an_unsigned_transaction_with_every_check_made(cluster: FakeCluster, rpc: SolanaRpc) -> None:
    plan = await make_solana_plan(request(), rpc)
    assert isinstance(plan, SolanaPlan)
    assert (plan.sender, plan.nonce, plan.not_verified) == (str(OWNER.pubkey()), NONCE, ())
    assert plan.verified == NAMES
    assert (plan.blockhash, plan.last_valid_block_height) == (BLOCKHASH, 3_090)
    transaction = Transaction.from_bytes(base64.b64decode(plan.transaction_base64))
    assert len(transaction.message.instructions) == 3
    assert str(transaction.message.recent_blockhash) == BLOCKHASH


async def test_the_recipients_account_is_created_only_if_it_is_absent(cluster: FakeCluster, rpc: SolanaRpc) -> None:
    held = token_account_data(key(14), key(13), 0)
    cluster.accounts[str(signed().destination)] = account(TOKEN, held)
    plan = await make_solana_plan(request(), rpc)
    transaction = Transaction.from_bytes(base64.b64decode(plan.transaction_base64))
    assert len(transaction.message.instructions) == 2


async def test_without_a_node_the_setting_is_named() -> None:
    with pytest.raises(RpcUnavailable) as caught:
        await make_solana_plan(request(), None)
    assert (caught.value.why, caught.value.setting) == ("its address is not set", "MACHINES_RPC_URL_900")


async def test_the_order_is_checked_before_the_node_is_asked(cluster: FakeCluster, rpc: SolanaRpc) -> None:
    with pytest.raises(Expired):
        await make_solana_plan(request(now=float(EXPIRES_AT)), rpc)
    with pytest.raises(CheckFailed):
        await make_solana_plan(request(consumed=False), rpc)
    with pytest.raises(Unsupported):
        await make_solana_plan(request(execution={"call_path": "solana_v3"}), rpc)
    assert cluster.asked == []


@pytest.mark.parametrize(
    ("check", "changed"),
    [
        ("target", {"execution": {"call_target": str(key(77))}}),
        ("target", {"execution": {"call_target": str(key(12))}}),
        ("target", {"execution": {"coordinator_address": str(key(77))}}),
        ("target", {"known": KnownChain(targets=frozenset({str(key(77))}), tokens={str(key(14)): DECIMALS})}),
        ("chain", {"known": None}),
        ("token", {"known": KnownChain(targets=frozenset({str(key(10))}), tokens={str(key(77)): DECIMALS})}),
        ("token", {"known": KnownChain(targets=frozenset({str(key(10))}), tokens={str(key(14)): 9})}),
        ("amount", {"withdrawal": signed(amount=AMOUNT * 100)}),
        ("amount", {"withdrawal": signed(amount=CENTS)}),
        ("recipient", {"withdrawal": signed(recipient=key(77))}),
        ("signature", {"withdrawal": replace(signed(), salt=b"\x09" * 32)}),
        ("signature", {"withdrawal": signed(OWNER)}),
        ("signature", {"withdrawal": signed(nonce=NONCE + 1)}),
    ],
)
async def test_what_differs_from_the_approval_or_the_policy_is_refused(
    cluster: FakeCluster, rpc: SolanaRpc, check: str, changed: dict[str, Any]
) -> None:
    given = dict(changed)
    withdrawal = given.pop("withdrawal", None)
    made = request(withdrawal, **given)
    with pytest.raises(CheckFailed) as caught:
        await make_solana_plan(made, rpc)
    assert caught.value.check == check
    assert "simulateTransaction" not in cluster.asked


async def test_another_owner_than_the_approved_one_is_refused(cluster: FakeCluster, rpc: SolanaRpc) -> None:
    approved = request().approved
    plan = await make_solana_plan(request(approved=replace(approved, admin_address=str(OWNER.pubkey()))), rpc)
    assert "admin" in plan.verified
    with pytest.raises(CheckFailed) as caught:
        await make_solana_plan(request(approved=replace(approved, admin_address=str(key(77)))), rpc)
    assert caught.value.check == "admin"


@pytest.mark.parametrize("behind", [1, 16])
async def test_a_nonce_that_has_moved_is_stale(cluster: FakeCluster, rpc: SolanaRpc, behind: int) -> None:
    cluster.holds(signed(nonce=NONCE + behind))
    with pytest.raises(Stale):
        await make_solana_plan(request(signed(nonce=NONCE)), rpc)


async def test_a_multisig_is_unsupported_by_name(cluster: FakeCluster, rpc: SolanaRpc) -> None:
    cluster.accounts[str(key(12))] = account(key(10), MULTISIG_COLLATERAL + bytes(300))
    with pytest.raises(Unsupported) as caught:
        await make_solana_plan(request(), rpc)
    assert caught.value.reason == "the collateral needs the signatures of several admins"


HOSTILE: list[tuple[str, int, Callable[[], dict[str, Any] | None]]] = [
    ("target", 12, lambda: None),
    ("target", 12, lambda: account(key(77), collateral_data(signed()))),
    ("target", 12, lambda: account(key(10), collateral_data(signed())[:60])),
    ("target", 12, lambda: account(key(10), b"\x00" * 300)),
    ("target", 11, lambda: None),
    ("target", 11, lambda: account(key(77), coordinator_data([EXECUTOR.pubkey()]))),
    ("target", 11, lambda: account(key(10), coordinator_data([]))),
    ("signature", 11, lambda: account(key(10), coordinator_data([key(77), EXECUTOR.pubkey()]))),
    ("token", 14, lambda: None),
    ("token", 14, lambda: account(SYSTEM_PROGRAM, mint_data())),
    ("token", 14, lambda: account(TOKEN, mint_data(9))),
    ("token", 14, lambda: account(TOKEN, token_account_data(key(14), key(13), 1))),
    ("recipient", 13, lambda: account(TOKEN, token_account_data(key(14), key(77), 1))),
]


@pytest.mark.parametrize(("check", "which", "found"), HOSTILE)
async def test_hostile_accounts_are_refused(
    cluster: FakeCluster, rpc: SolanaRpc, check: str, which: int, found: Callable[[], dict[str, Any] | None]
) -> None:
    cluster.accounts.pop(str(key(which)))
    made = found()
    if made is not None:
        cluster.accounts[str(key(which))] = made
    with pytest.raises(CheckFailed) as caught:
        await make_solana_plan(request(), rpc)
    assert caught.value.check == check


async def test_a_recipient_without_an_account_is_a_wallet(cluster: FakeCluster, rpc: SolanaRpc) -> None:
    del cluster.accounts[str(key(13))]
    assert (await make_solana_plan(request(), rpc)).verified == NAMES


async def test_the_owner_can_be_the_recipient(cluster: FakeCluster, rpc: SolanaRpc) -> None:
    withdrawal = signed(recipient=OWNER.pubkey())
    cluster.holds(withdrawal)
    approved = replace(request().approved, address=str(OWNER.pubkey()))
    assert (await make_solana_plan(request(withdrawal, approved=approved), rpc)).verified == NAMES


async def test_a_transaction_that_does_not_say_the_order_does_not_leave(
    cluster: FakeCluster, rpc: SolanaRpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(withdrawal: SolanaWithdrawal, blockhash: str, *, create_account: bool) -> str:
        wrong = replace(withdrawal, amount=withdrawal.amount + 1)
        return unsigned_transaction(wrong, blockhash, create_account=create_account)

    monkeypatch.setattr("machines_mcp.chain.solana_checks.unsigned_transaction", spoiled)
    with pytest.raises(CheckFailed) as caught:
        await make_solana_plan(request(), rpc)
    assert caught.value.check == "calldata"


async def test_a_transaction_that_the_cluster_would_not_execute_is_refused(
    cluster: FakeCluster, rpc: SolanaRpc
) -> None:
    cluster.answers["simulateTransaction"] = lambda _: {"value": {"err": {"InstructionError": [2, {"Custom": 6001}]}}}
    with pytest.raises(CheckFailed) as caught:
        await make_solana_plan(request(), rpc)
    assert caught.value.check == "simulated"


@pytest.mark.parametrize(
    ("method", "result", "why"),
    [
        ("getGenesisHash", "EtWTRABZaYq6iMfeYKouRu166VU2xqa1", "it is a node of another chain"),
        ("getGenesisHash", 7, "its answer is not JSON-RPC"),
        ("getAccountInfo", {"value": {"owner": "x", "data": "AA=="}}, "its answer is not JSON-RPC"),
        ("getAccountInfo", {"value": {"owner": "x", "data": ["A", "base64"]}}, "its answer is not JSON-RPC"),
        ("getAccountInfo", {"value": {"owner": "x", "data": ["A" * 30_000, "base64"]}}, "its answer is too large"),
        ("getAccountInfo", {"value": {"owner": "x", "data": ["A" * 2_000_000, "base64"]}}, "its answer is too large"),
        ("getAccountInfo", [], "its answer is not JSON-RPC"),
        (
            "getLatestBlockhash",
            {"value": {"blockhash": "short", "lastValidBlockHeight": 1}},
            "its answer is not JSON-RPC",
        ),
        ("getLatestBlockhash", {"value": {"blockhash": BLOCKHASH}}, "its answer is not JSON-RPC"),
        ("simulateTransaction", {"value": {}}, "its answer is not JSON-RPC"),
    ],
)
async def test_an_odd_answer_of_the_node_is_no_plan(
    cluster: FakeCluster, rpc: SolanaRpc, method: str, result: Any, why: str
) -> None:
    cluster.answers[method] = lambda _: result
    with pytest.raises(RpcUnavailable) as caught:
        await make_solana_plan(request(), rpc)
    assert caught.value.why == why
    assert "key-in-the-path" not in repr(caught.value)


async def test_a_chain_id_that_no_cluster_has_is_refused(cluster: FakeCluster) -> None:
    rpc = SolanaRpc(Secret(cluster.url), 902)
    try:
        with pytest.raises(RpcUnavailable):
            await make_solana_plan(request(execution={"chain_id": 902}), rpc)
    finally:
        await rpc.aclose()

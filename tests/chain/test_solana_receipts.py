"""Test how an executed Solana transaction is compared with its order."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import Transaction, VersionedTransaction

from machines_mcp.chain import solana
from machines_mcp.chain.faults import RpcUnavailable
from machines_mcp.chain.order import Order
from machines_mcp.chain.solana_plan import confirm_solana
from machines_mcp.chain.solana_rpc import SolanaRpc
from machines_mcp.redaction.secret import Secret
from tests.support.solana_cluster import BLOCKHASH, FakeCluster, fake_cluster
from tests.support.solana_world import AMOUNT, EXPIRES_AT, OWNER, key, signed

pytestmark = pytest.mark.anyio

BUDGET = Instruction(Pubkey.from_string("ComputeBudget111111111111111111111111111111"), b"\x02\x40\x0d\x03\x00", [])


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with fake_cluster() as running:
        yield running


@pytest.fixture
async def rpc(cluster: FakeCluster) -> AsyncIterator[SolanaRpc]:
    opened = SolanaRpc(Secret(cluster.url), 900)
    yield opened
    await opened.aclose()


def order_of(withdrawal: solana.SolanaWithdrawal) -> Order:
    return Order(
        path="solana_v2_02",
        chain_id=900,
        target=str(withdrawal.program),
        collateral=str(withdrawal.collateral),
        token=str(withdrawal.mint),
        amount=withdrawal.amount,
        recipient=str(withdrawal.recipient),
        expires_at=withdrawal.expires_at,
        salt=withdrawal.salt,
        signature=withdrawal.signature,
    )


ORDER = order_of(signed())


def executed(withdrawal: solana.SolanaWithdrawal | None = None, *, before: tuple[Instruction, ...] = ()) -> Transaction:
    """Return the signed transaction of a withdrawal, with instructions that a wallet put before it."""
    steps = [*before, *solana.instructions(withdrawal or signed(), create_account=True)]
    made = Transaction.new_unsigned(Message.new_with_blockhash(steps, OWNER.pubkey(), Hash.from_string(BLOCKHASH)))
    made.sign([OWNER], made.message.recent_blockhash)
    return made


def balance(owner: object, amount: int, mint: object = None) -> dict[str, Any]:
    known = str(key(14)) if mint is None else str(mint)
    amounts = {"amount": str(amount), "decimals": 6, "uiAmount": None, "uiAmountString": ""}
    return {"accountIndex": 5, "mint": known, "owner": str(owner), "programId": "", "uiTokenAmount": amounts}


def described(transaction: Transaction | VersionedTransaction, **meta: Any) -> dict[str, Any]:
    """Return a transaction as a node describes it."""
    moved = {"preTokenBalances": [balance(key(99), 5)], "postTokenBalances": [balance(key(13), AMOUNT)]}
    return {
        "slot": 4_242,
        "meta": {"err": None, **moved, **meta},
        "transaction": [base64.b64encode(bytes(transaction)).decode(), "base64"],
        "version": "legacy",
    }


async def confirm(cluster: FakeCluster, rpc: SolanaRpc, made: Transaction | VersionedTransaction, **meta: Any) -> Any:
    cluster.answers["getTransaction"] = lambda _: described(made, **meta)
    return await confirm_solana(ORDER, str(OWNER.pubkey()), rpc, str(made.signatures[0]))


@pytest.mark.parametrize("before", [(), (BUDGET, BUDGET)], ids=["planned", "with a fee"])
async def test_the_planned_transaction_is_done(
    cluster: FakeCluster, rpc: SolanaRpc, before: tuple[Instruction, ...]
) -> None:
    found = await confirm(cluster, rpc, executed(before=before))
    assert (found.state, found.block, found.differs) == ("done", 4_242, ())


async def test_a_transaction_that_is_not_final_is_pending(cluster: FakeCluster, rpc: SolanaRpc) -> None:
    found = await confirm_solana(ORDER, str(OWNER.pubkey()), rpc, str(executed().signatures[0]))
    assert found.state == "pending"
    assert cluster.asked == ["getGenesisHash", "getTransaction"]


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"program": key(70)}, ("to",)),
        ({"collateral": key(70)}, ("collateral",)),
        ({"recipient": key(70)}, ("recipient",)),
        ({"mint": key(70)}, ("token",)),
        ({"amount": AMOUNT + 1}, ("amount",)),
        ({"expires_at": EXPIRES_AT + 1}, ("expires_at",)),
        ({"salt": b"\x06" * 32}, ("salt",)),
        ({"amount": AMOUNT - 1, "recipient": key(70)}, ("recipient", "amount")),
    ],
)
async def test_another_withdrawal_is_different_by_name(
    cluster: FakeCluster, rpc: SolanaRpc, changes: dict[str, Any], differs: tuple[str, ...]
) -> None:
    found = await confirm(cluster, rpc, executed(signed(**changes)))
    assert (found.state, found.differs) == ("different", differs)


async def test_another_sender_is_different(cluster: FakeCluster, rpc: SolanaRpc) -> None:
    made = executed()
    cluster.answers["getTransaction"] = lambda _: described(made)
    found = await confirm_solana(ORDER, str(key(70)), rpc, str(made.signatures[0]))
    assert (found.state, found.differs) == ("different", ("from",))


async def test_another_instruction_of_the_program_is_different(cluster: FakeCluster, rpc: SolanaRpc) -> None:
    step = Instruction(signed().program, b"\x01" * 56, [])
    message = Message.new_with_blockhash([step], OWNER.pubkey(), Hash.from_string(BLOCKHASH))
    made = Transaction.new_unsigned(message)
    made.sign([OWNER], message.recent_blockhash)
    assert (await confirm(cluster, rpc, made)).differs == ("function",)


@pytest.mark.parametrize(
    "meta",
    [
        {"postTokenBalances": []},
        {"postTokenBalances": [balance(key(13), AMOUNT - 1)]},
        {"postTokenBalances": [balance(key(70), AMOUNT)]},
        {"postTokenBalances": [balance(key(13), AMOUNT, key(71))]},
        {"preTokenBalances": [balance(key(13), 1)]},
        {"preTokenBalances": None, "postTokenBalances": None},
        {"postTokenBalances": [{"mint": str(key(14)), "owner": str(key(13)), "uiTokenAmount": {"amount": "9" * 400}}]},
    ],
)
async def test_a_success_that_moved_another_amount_is_different(
    cluster: FakeCluster, rpc: SolanaRpc, meta: dict[str, Any]
) -> None:
    found = await confirm(cluster, rpc, executed(), **meta)
    assert (found.state, found.differs) == ("different", ("transfer",))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"InstructionError": [2, {"Custom": 6001}]}, "its instruction 3 failed with error 6001"),
        ({"InstructionError": [1, "InvalidAccountData"]}, "its instruction 2 failed"),
        ({"InstructionError": [1, {"Custom": 10**300}]}, "its instruction 2 failed"),
        ({"InstructionError": [10**300, {"Custom": 1}]}, "the cluster refused it"),
        ("BlockhashNotFound", "the cluster refused it"),
    ],
)
async def test_a_failed_transaction_moved_nothing(
    cluster: FakeCluster, rpc: SolanaRpc, error: Any, reason: str
) -> None:
    found = await confirm(cluster, rpc, executed(), err=error)
    assert (found.state, found.reason) == ("reverted", reason)


async def test_accounts_from_a_look_up_table_are_read(cluster: FakeCluster, rpc: SolanaRpc) -> None:
    withdrawal = signed()
    moved = [withdrawal.recipient, withdrawal.mint]
    table = AddressLookupTableAccount(key(80), moved)
    steps = solana.instructions(withdrawal, create_account=False)
    message = MessageV0.try_compile(OWNER.pubkey(), steps, [table], Hash.from_string(BLOCKHASH))
    made = VersionedTransaction(message, [OWNER])
    loaded = {"writable": [str(withdrawal.recipient)], "readonly": [str(withdrawal.mint)]}
    assert (await confirm(cluster, rpc, made, loadedAddresses=loaded)).state == "done"
    assert (await confirm(cluster, rpc, made)).state == "different"


@pytest.mark.parametrize(
    "spoil",
    [
        {"slot": None},
        {"meta": None},
        {"meta": {}},
        {"transaction": None},
        {"transaction": ["!!", "base64"]},
        {"transaction": ["AAAA", "base64"]},
        {"transaction": [base64.b64encode(bytes(executed())).decode(), "base58"]},
        {"meta": {"err": None, "loadedAddresses": {"writable": 1}}},
    ],
)
async def test_an_unreadable_description_is_no_confirmation(
    cluster: FakeCluster, rpc: SolanaRpc, spoil: dict[str, Any]
) -> None:
    made = executed()
    cluster.answers["getTransaction"] = lambda _: described(made) | spoil
    with pytest.raises(RpcUnavailable):
        await confirm_solana(ORDER, str(OWNER.pubkey()), rpc, str(made.signatures[0]))


async def test_the_description_of_another_transaction_is_no_confirmation(cluster: FakeCluster, rpc: SolanaRpc) -> None:
    cluster.answers["getTransaction"] = lambda _: described(executed(before=(BUDGET,)))
    with pytest.raises(RpcUnavailable):
        await confirm_solana(ORDER, str(OWNER.pubkey()), rpc, str(executed().signatures[0]))

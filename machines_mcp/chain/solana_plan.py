"""Plan a withdrawal on Solana: the unsigned transaction, after its checks. And confirm it by its signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import anyio.to_thread

from machines_mcp.chain.checks import Checks, PlanRequest, check_order
from machines_mcp.chain.faults import RpcUnavailable, Unsupported
from machines_mcp.chain.order import SOLANA, Order, read_order
from machines_mcp.chain.receipts import Confirmation
from machines_mcp.chain.solana_rpc import SolanaAccount, SolanaRpc


@dataclass(frozen=True, slots=True, kw_only=True)
class SolanaPlan:
    """What the owner signs and sends. The blockhash lives for 60 to 90 seconds; after that, make another plan."""

    order: Order
    sender: str
    """The owner of the collateral, who signs and pays the fee."""
    nonce: int
    transaction_base64: str
    blockhash: str
    last_valid_block_height: int
    verified: tuple[str, ...]
    not_verified: tuple[str, ...]


async def make_solana_plan(request: PlanRequest, rpc: SolanaRpc | None) -> SolanaPlan:
    """Return the plan of a signed withdrawal, if it passes every check. Without a node there is none.

    Raises:
        NotSigned: The API has not signed it.
        Malformed: The answer can't be read.
        Unsupported: It is on another call path, or its collateral has several admins.
        Expired: The API's signature has expired.
        Stale: The nonce has moved since the API signed.
        CheckFailed: A check failed.
        RpcUnavailable: The node gave no usable answer, or there is none.
    """
    order = await anyio.to_thread.run_sync(read_order, request.answer)
    if order.path != SOLANA:
        raise Unsupported(order.path, "it is not on Solana")
    base = Checks(production=request.production)
    check_order(base, request, order)
    if rpc is None:
        raise RpcUnavailable("its address is not set", f"MACHINES_RPC_URL_{order.chain_id}")
    base.require("chain", await rpc.check_cluster(), "a node that names its cluster", f"chain.{order.chain_id}")
    await anyio.to_thread.run_sync(_load)
    from machines_mcp.chain.solana_checks import SolanaChecks

    checks = SolanaChecks(base, request, order)
    collateral = checks.collateral(await rpc.account(order.collateral))
    accounts = await _accounts(rpc, collateral.coordinator, order.token, order.recipient)
    withdrawal = checks.withdrawal(collateral, *accounts)
    destination = await rpc.account(str(withdrawal.destination))
    blockhash = await rpc.latest_blockhash()
    text = checks.transaction(withdrawal, blockhash, create_account=destination is None)
    base.require("simulated", await rpc.accepts(text), "a transaction that the cluster would execute")
    return SolanaPlan(
        order=order,
        sender=str(withdrawal.owner),
        nonce=withdrawal.nonce,
        transaction_base64=text,
        blockhash=blockhash.hash,
        last_valid_block_height=blockhash.last_valid_block_height,
        verified=base.verified,
        not_verified=base.not_verified,
    )


async def confirm_solana(order: Order, sender: str, rpc: SolanaRpc, signature: str) -> Confirmation:
    """Compare a transaction with the order, once it is final. Until then it is `pending`.

    Raises:
        RpcUnavailable: The node gave no usable answer.
    """
    await rpc.check_cluster()
    found = await rpc.transaction(signature)
    if found is None:
        return Confirmation(state="pending")
    await anyio.to_thread.run_sync(_load)
    from machines_mcp.chain.solana_receipts import compare

    return compare(order, sender, signature, found)


async def _accounts(rpc: SolanaRpc, *addresses: str) -> Sequence[SolanaAccount | None]:
    """Read accounts at once."""
    found: dict[str, SolanaAccount | None] = {}
    faults: list[RpcUnavailable] = []

    async def read(address: str) -> None:
        try:
            found[address] = await rpc.account(address)
        except RpcUnavailable as fault:
            faults.append(fault)

    async with anyio.create_task_group() as tasks:
        for address in set(addresses):
            tasks.start_soon(read, address)
    if faults:
        raise RpcUnavailable(faults[0].why)
    return [found[address] for address in addresses]


def _load() -> None:
    """Import the modules that load `solders`, in a thread."""
    import machines_mcp.chain.solana_checks  # noqa: F401

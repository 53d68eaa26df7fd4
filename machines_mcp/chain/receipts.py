"""Confirm a sent withdrawal by its receipt: the right call, mined, that moved exactly the order's amount."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import anyio.to_thread

from machines_mcp.chain import evm
from machines_mcp.chain.order import Order
from machines_mcp.chain.reads import read_nonce
from machines_mcp.chain.reverts import reason_of
from machines_mcp.chain.rpc import EvmRpc
from machines_mcp.chain.rpc_values import Receipt, Reverted

# keccak of Transfer(address,address,uint256), which tests/chain/test_receipts.py computes.
TRANSFER: Final = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
# The admin's signature has several valid forms and does not change what moves.
_OF_ADMIN: Final = frozenset({"admin_salt", "admin_signature"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What a transaction did for a withdrawal.

    `pending`: it is not mined. `done`: it moved the money. `reverted`: it moved nothing. `different`: it is mined, but
    is not this withdrawal.
    """

    state: Literal["pending", "done", "reverted", "different"]
    block: int | None = None
    reason: str = ""
    """Why it reverted, as a clause in our words."""
    is_void: bool = False
    """Whether it reverted and the signatures were used by then, maybe by another transaction of this withdrawal."""
    differs: tuple[str, ...] = ()
    """What differs from the plan: `from`, `to`, `function`, the names of arguments, `transfer`."""

    @property
    def is_other(self) -> bool:
        """Whether it is not this withdrawal's transaction."""
        return self.state == "different" or bool(set(self.differs) - _OF_ADMIN)


async def confirm(
    order: Order,
    sender: str,
    rpc: EvmRpc,
    transaction_hash: str,
    *,
    salts: Sequence[bytes] = (),
    signatures: Sequence[bytes] = (),
    nonce: int | None = None,
) -> Confirmation:
    """Compare a transaction with the order. `salts`, `signatures` and `nonce` are the admins', as planned.

    Raises:
        RpcUnavailable: The node gave no usable answer.
    """
    receipt = await rpc.receipt(transaction_hash)
    if receipt is None:
        return Confirmation(state="pending")
    data = await rpc.mined_input(transaction_hash)
    if data is None:
        return Confirmation(state="pending")
    found = await anyio.to_thread.run_sync(evm.decoded, data)
    differs = [
        *(["from"] if receipt.sender != sender.lower() else []),
        *(["to"] if receipt.target != order.target.lower() else []),
        *evm.differences(found, order, salts, signatures),
    ]
    if not receipt.succeeded:
        reason = await _reason(rpc, receipt, data)
        is_void = nonce is not None and await read_nonce(rpc, order) not in (nonce, None)
        return Confirmation(
            state="reverted", block=receipt.block, reason=reason, is_void=is_void, differs=tuple(differs)
        )
    if not _transferred(receipt, order):
        differs.append("transfer")
    state: Literal["done", "different"] = "different" if set(differs) - _OF_ADMIN else "done"
    return Confirmation(state=state, block=receipt.block, differs=tuple(differs))


def _transferred(receipt: Receipt, order: Order) -> bool:
    """Whether there was one transfer of exactly this amount from the collateral to the recipient."""
    wanted = (TRANSFER, _topic(order.collateral), _topic(order.recipient))
    return any(
        log.address == order.token.lower() and log.topics == wanted and log.data == order.amount.to_bytes(32)
        for log in receipt.logs
    )


async def _reason(rpc: EvmRpc, receipt: Receipt, data: bytes) -> str:
    """Return why the transaction reverted, by calling again as things are now."""
    if receipt.target is None:
        return ""
    try:
        await rpc.call(receipt.target, data, sender=receipt.sender)
    except Reverted as reverted:
        return reason_of(reverted.data)
    return ""


def _topic(address: str) -> bytes:
    return bytes.fromhex(address[2:]).rjust(32, b"\0")

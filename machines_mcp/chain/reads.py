"""What a plan reads of an EVM chain. A contract that gives no answer to a question leaves the answer unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import anyio

from machines_mcp.chain.faults import RpcUnavailable
from machines_mcp.chain.order import COORDINATOR, Order
from machines_mcp.chain.rpc import EvmRpc
from machines_mcp.chain.rpc_values import Reverted

# Selectors, so that a read needs no library. tests/chain/test_reads.py computes them.
SELECTORS: Final = {
    "decimals()": bytes.fromhex("313ce567"),
    "isAdmin(address)": bytes.fromhex("24d7806c"),
    "adminThreshold()": bytes.fromhex("5f24dca3"),
    "adminNonce()": bytes.fromhex("4ab3be98"),
    "nonce(address)": bytes.fromhex("70ae92d2"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReads:
    """The answers of the chain. None: it was not asked, or gave none."""

    decimals: int | None = None
    is_admin: bool | None = None
    admin_threshold: int | None = None
    nonce: int | None = None


async def read_chain(rpc: EvmRpc, order: Order, sender: str) -> ChainReads:
    """Read everything at once, after the chain id.

    Raises:
        RpcUnavailable: The node gave no usable answer.
    """
    await rpc.check_chain()
    asked: dict[str, tuple[str, str, str | None]] = {
        "decimals": (order.token, "decimals()", None),
        "is_admin": (order.collateral, "isAdmin(address)", sender),
        "nonce": _nonce_of(order),
    }
    if order.path == COORDINATOR:
        asked["admin_threshold"] = (order.collateral, "adminThreshold()", None)
    found: dict[str, int | None] = {}
    faults: list[RpcUnavailable] = []

    async def ask(name: str, to: str, function: str, argument: str | None) -> None:
        try:
            found[name] = await _number(rpc, to, function, argument)
        except RpcUnavailable as fault:
            faults.append(fault)

    async with anyio.create_task_group() as tasks:
        for name, (to, function, argument) in asked.items():
            tasks.start_soon(ask, name, to, function, argument)
    if faults:
        raise RpcUnavailable(faults[0].why)
    admin = found["is_admin"]
    return ChainReads(
        decimals=found["decimals"],
        is_admin=bool(admin) if admin in (0, 1) else None,
        admin_threshold=found.get("admin_threshold"),
        nonce=found["nonce"],
    )


async def read_nonce(rpc: EvmRpc, order: Order) -> int | None:
    """Return the nonce that the signatures count on, as it is now; None if the contract gives none.

    Raises:
        RpcUnavailable: The node gave no usable answer.
    """
    return await _number(rpc, *_nonce_of(order))


def _nonce_of(order: Order) -> tuple[str, str, str | None]:
    """Return whom to ask for the nonce, the function and its argument."""
    if order.path == COORDINATOR:
        return order.collateral, "adminNonce()", None
    return order.target, "nonce(address)", order.collateral


async def _number(rpc: EvmRpc, to: str, function: str, argument: str | None) -> int | None:
    """Return the one number that a view answers; None if it answers anything else."""
    data = SELECTORS[function] + (bytes.fromhex(argument[2:]).rjust(32, b"\0") if argument else b"")
    try:
        answer = await rpc.call(to, data)
    except Reverted:
        return None
    return int.from_bytes(answer) if len(answer) == 32 else None

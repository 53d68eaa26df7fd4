"""Plan a withdrawal on an EVM chain: the typed data to sign, then the transaction to send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import anyio.to_thread

from machines_mcp.chain import evm
from machines_mcp.chain.checks import Checks, PlanRequest, check_order, check_token
from machines_mcp.chain.faults import CheckFailed, Stale, Unsupported, WrongSignature
from machines_mcp.chain.order import COORDINATOR, SOLANA, Order, read_order
from machines_mcp.chain.reads import ChainReads, read_chain
from machines_mcp.chain.reverts import reason_of
from machines_mcp.chain.rpc import EvmRpc
from machines_mcp.chain.rpc_values import Reverted

_VALID_SIGNATURE: Final = "isValidSignature(bytes32,bytes)"
_MAGIC: Final = bytes.fromhex("1626ba7e").ljust(32, b"\0")

SaltFor = Callable[[int], Awaitable[bytes]]
"""Returns the admin's salt for a nonce: 32 fresh random bytes, and the same again for the same nonce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do next. `sign`: the admin signs `typed_data`. `send`: the admin sends `transaction`."""

    stage: Literal["sign", "send"]
    order: Order
    sender: str
    nonce: int | None
    salt: bytes | None
    """The admin's. None on `controller_v1`, which needs no signature of an admin."""
    typed_data: dict[str, Any] | None
    transaction: dict[str, str] | None
    signature: bytes | None
    """The admin's signature as it is in the transaction."""
    verified: tuple[str, ...]
    not_verified: tuple[str, ...]


async def make_plan(request: PlanRequest, rpc: EvmRpc | None, salt_for: SaltFor) -> Plan:
    """Return the plan of a signed withdrawal, if it passes every check.

    Without `rpc` nothing is read from the chain. Then `coordinator_v2` needs `given_nonce`.

    Raises:
        NotSigned: The API has not signed it.
        Malformed: The answer can't be read.
        Unsupported: There are no plans for its call path or its collateral.
        Expired: The API's signature has expired.
        Stale: The contract's nonce has moved.
        CheckFailed: A check failed. `nonce`: neither `rpc` nor `given_nonce` says it.
        WrongSignature: `signature` is not the admin's.
        RpcUnavailable: `rpc` gave no usable answer.
    """
    # In a thread: the first address loads the hash functions.
    order = await anyio.to_thread.run_sync(read_order, request.answer)
    if order.path == SOLANA:
        raise Unsupported(order.path, "it is not on an EVM chain")
    checks = Checks(production=request.production)
    check_order(checks, request, order)
    sender = await _sender(request)
    reads = ChainReads() if rpc is None else await read_chain(rpc, order, sender)
    if reads.admin_threshold is not None and reads.admin_threshold > 1:
        raise Unsupported(order.path, "the collateral needs the signatures of several admins")
    checks.require("path", True, "a known call path")
    check_token(checks, request, order, reads.decimals)
    checks.require("admin", reads.is_admin, "the sender to be an admin of the collateral", "admin_address")
    nonce = _nonce(checks, request, order, reads)
    if order.path != COORDINATOR:
        return await _send(checks, order, rpc, sender, nonce)
    if nonce is None:
        raise CheckFailed("nonce", "the admin nonce of the collateral", f"MACHINES_RPC_URL_{order.chain_id}")
    salt = await salt_for(nonce)
    typed = await anyio.to_thread.run_sync(evm.typed_data, order, sender, nonce, salt)
    if request.signature is None:
        return _plan(checks, order, sender, nonce, stage="sign", salt=salt, typed_data=typed)
    signature = await _checked_signature(rpc, sender, typed, request.signature)
    checks.require("signature", True, "the admin's signature of the typed data")
    return await _send(checks, order, rpc, sender, nonce, salt, signature)


async def _sender(request: PlanRequest) -> str:
    """Return the admin's address in its normal form."""
    from eth_utils.address import is_address, to_checksum_address

    given = request.approved.admin_address
    if given is None or not is_address(given):
        raise CheckFailed("admin", "a quote that names the admin on an EVM chain", "admin_address")
    return to_checksum_address(given)


def _nonce(checks: Checks, request: PlanRequest, order: Order, reads: ChainReads) -> int | None:
    """Return the nonce that both signatures count on: as read, or else as given."""
    now, signed = reads.nonce, request.signed_nonce
    if now is None:
        checks.require("nonce", None, "the nonce on chain")
        return signed if request.given_nonce is None else request.given_nonce
    if signed is not None and now != signed:
        raise Stale
    checks.require("nonce", True, "the nonce on chain to be the signed one")
    return now


async def _checked_signature(rpc: EvmRpc | None, sender: str, typed: dict[str, Any], given: bytes) -> bytes:
    """Return the signature in the form that the contracts accept."""
    recovered = await anyio.to_thread.run_sync(evm.recover, typed, given)
    if recovered == sender:
        return evm.canonical(given)
    if rpc is not None and await rpc.code(sender):
        asked = await anyio.to_thread.run_sync(partial(_asked_of_wallet, typed, given))
        try:
            if (await rpc.call(sender, asked)).ljust(32, b"\0") == _MAGIC:
                return given
        except Reverted:
            pass
    raise WrongSignature(sender, recovered)


def _asked_of_wallet(typed: dict[str, Any], signature: bytes) -> bytes:
    """Return the call that asks a contract wallet about a signature (ERC-1271)."""
    from eth_abi.abi import encode

    return evm.selector(_VALID_SIGNATURE) + encode(["bytes32", "bytes"], [evm.digest(typed), signature])


async def _send(
    checks: Checks,
    order: Order,
    rpc: EvmRpc | None,
    sender: str,
    nonce: int | None,
    salt: bytes | None = None,
    signature: bytes | None = None,
) -> Plan:
    salts, signatures = ((salt,), (signature,)) if salt and signature else ((), ())
    data = await anyio.to_thread.run_sync(evm.calldata, order, salts, signatures)
    again = await anyio.to_thread.run_sync(evm.decoded, data)
    checks.require("calldata", not evm.differences(again, order, salts, signatures), "calldata that says the order")
    await _simulate(checks, order, rpc, sender, data)
    transaction = {
        "from": sender,
        "to": order.target,
        "data": f"0x{data.hex()}",
        "value": "0x0",
        "chainId": hex(order.chain_id),
    }
    return _plan(checks, order, sender, nonce, stage="send", salt=salt, transaction=transaction, signature=signature)


async def _simulate(checks: Checks, order: Order, rpc: EvmRpc | None, sender: str, data: bytes) -> None:
    if rpc is None:
        checks.require("simulated", None, "a call that the contracts accept")
        return
    refused = ""
    try:
        await rpc.call(order.target, data, sender=sender)
    except Reverted as reverted:
        refused = reason_of(reverted.data)
    checks.require("simulated", not refused, f"a call that the contracts accept, but {refused}")


def _plan(
    checks: Checks,
    order: Order,
    sender: str,
    nonce: int | None,
    *,
    stage: Literal["sign", "send"],
    salt: bytes | None = None,
    typed_data: dict[str, Any] | None = None,
    transaction: dict[str, str] | None = None,
    signature: bytes | None = None,
) -> Plan:
    return Plan(
        stage=stage,
        order=order,
        sender=sender,
        nonce=nonce,
        salt=salt,
        typed_data=typed_data,
        transaction=transaction,
        signature=signature,
        verified=checks.verified,
        not_verified=checks.not_verified,
    )

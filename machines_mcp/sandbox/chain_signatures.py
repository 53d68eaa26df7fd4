"""Signatures that a chain accepts, and transactions of the sandbox's own wallet. Without chains, neither is made."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from machines_mcp.sandbox.contracts import Contract
from machines_mcp.sandbox.envelope import conflict
from machines_mcp.sandbox.settlement import cover, deployed, follow, pay, paying, sync

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.chain.chains import Chains
    from machines_mcp.sandbox.chain.withdrawal import Terms
    from machines_mcp.sandbox.state import State


@dataclass(frozen=True, slots=True)
class Payment:
    """What a signature is for. `admin` is the sender that the request named; `expires_at` is in epoch seconds."""

    cents: int
    recipient: str
    expires_at: int
    admin: str | None


def sign(call: Call, withdrawal_id: str, contract: Contract, payment: Payment, salt: bytes) -> bytes | None:
    """Sign as the executor, and see that the contract holds the money; None without a chain for it.

    The sender is the admin that the request names, else the linked wallet, else the sandbox's own. Users without a
    linked wallet have the first of these as their admin.
    """
    chains = call.state.chains
    if chains is None or (deployment := chains.deployments.get(contract.chain_id)) is None:
        return None
    from machines_mcp.sandbox.chain.withdrawal import executor_signature

    sync(call.state)
    linked = call.user.wallet_address if call.user.wallet_chain == "evm" else None
    sender = (payment.admin or linked or chains.wallet.address).lower()
    deployed(call.state, chains, call.user.user_id, first_admin=sender)
    units = contract.units(payment.cents)
    cover(chains, call.user, contract, units)
    call.state.insert("chain_signatures", withdrawal_id=withdrawal_id, admin=sender, salt=salt)
    terms = _terms(contract, sender, units, payment.recipient, payment.expires_at)
    return executor_signature(chains.executor, terms, deployment.nonce(contract.proxy), salt)


def send(state: State, row: sqlite3.Row) -> bool:
    """Execute a live signature: by a transaction, if it is for the sandbox's wallet. The ledger follows that one.

    Otherwise move the money without a transaction and return False: the ledger is to be debited.

    Raises:
        Refusal: 409, if the transaction reverted.
    """
    if (chains := state.chains) is None:
        return False
    signed = state.row("SELECT * FROM chain_signatures WHERE withdrawal_id = ?", row["withdrawal_id"])
    if signed is None or signed["admin"] != chains.wallet.address.lower():
        pay(state, chains, row)
        return False
    user = deployed(state, chains, row["user_id"])
    contract = paying(chains, user, row)
    if contract is None:
        raise LookupError("a signature with an admin is for one of the chains")
    deployment = chains.deployments[contract.chain_id]
    nonce = deployment.node.nonce(chains.wallet.address)
    data = _call_data(chains, contract, json.loads(row["answer"])["parameters"], signed["salt"])
    deployment.node.fund(chains.wallet.address)
    raw = chains.wallet.transaction(contract.chain_id, nonce, contract.entry_point, data)
    mined = deployment.node.send(raw)
    if not mined.succeeded:
        raise conflict("the transaction reverted")
    follow(state, contract.chain_id, mined)
    return True


def _call_data(chains: Chains, contract: Contract, parameters: list[Any], salt: bytes) -> bytes:
    """Return the calldata of a withdrawal that the sandbox's wallet sends, with its own signature for version 2."""
    from machines_mcp.sandbox.chain.withdrawal import admin_signature, withdrawal_call

    _, _, amount, recipient, expires_at, _, signature = parameters
    terms = _terms(contract, chains.wallet.address, int(amount), recipient, expires_at)
    admin = None
    if contract.version == 2:
        nonce, own_salt = chains.deployments[contract.chain_id].nonce(contract.proxy), secrets.token_bytes(32)
        admin = own_salt, admin_signature(chains.wallet, terms, nonce, own_salt)
    return withdrawal_call(terms, (salt, bytes.fromhex(signature[2:])), admin)


def _terms(contract: Contract, sender: str, units: int, recipient: str, expires_at: int) -> Terms:
    from machines_mcp.sandbox.chain.withdrawal import Terms

    return Terms(
        version=contract.version,
        chain_id=contract.chain_id,
        entry_point=contract.entry_point,
        user=sender,
        collateral=contract.proxy,
        asset=contract.token,
        amount=units,
        recipient=recipient,
        expires_at=expires_at,
    )

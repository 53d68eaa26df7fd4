"""Settlement: keep the chains and the ledger in step. Without chains, these functions do nothing.

Completed deposits are minted into the user's collateral, and a withdrawal on a chain is debited in the ledger. The
chains are in memory; the database has what is needed to rebuild them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from machines_mcp.sandbox import assets, users
from machines_mcp.sandbox.assets import Pair
from machines_mcp.sandbox.contracts import Contract, contract_holding, contracts_of, evm_entry_points
from machines_mcp.sandbox.live_signatures import live, use

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.sandbox.chain.chains import Chains
    from machines_mcp.sandbox.chain.node import Mined
    from machines_mcp.sandbox.state import State
    from machines_mcp.sandbox.user import User


def make_chains(keep: Callable[[str, Callable[[], str]], str], clock: Callable[[], float]) -> Chains:
    """Make a chain for each EVM network with collateral. `keep` stores the keys with the state."""
    from machines_mcp.sandbox.chain.chains import Chains
    from machines_mcp.sandbox.chain.deployment import Site
    from machines_mcp.sandbox.chain.key import Key, new_secret

    sites = [
        Site(
            settled.network.chain_id or 0, version, address, settled.token_contract or "", assets.symbol(settled.ticker)
        )
        for version, settled, address in evm_entry_points()
    ]
    return Chains(sites, Key(keep("executor_key", new_secret)), Key(keep("wallet_key", new_secret)), clock)


def rebuild(state: State) -> None:
    """Begin the chains anew from the database: money, admins and nonces. Blocks and receipts are not kept."""
    if state.chains is None:
        return
    state.chains.restart()
    for row in state.rows("SELECT * FROM chain_accounts"):
        state.chains.deployments[row["chain_id"]].node.resume(row["address"], row["nonce"])
    sync(state)
    for row in state.rows("SELECT * FROM withdrawals WHERE answer NOT NULL AND held_until = 0 ORDER BY created_at"):
        pay(state, state.chains, row)
    for row in state.rows("SELECT * FROM withdrawals WHERE answer NOT NULL AND held_until > ?", state.clock.now()):
        user = deployed(state, state.chains, row["user_id"])
        if (contract := paying(state.chains, user, row)) is not None:
            cover(state.chains, user, contract, contract.units(row["amount_cents"]))


def sync(state: State) -> None:
    """Mint the deposits that completed since the last time."""
    if (chains := state.chains) is None:
        return
    now = state.clock.now()
    rows = state.rows(
        "SELECT deposits.*, amount_cents FROM deposits JOIN entries USING (entry_id)"
        " WHERE completes_at >= ? AND completes_at <= ?",
        *(chains.window(now), now),
    )
    for row in rows:
        if chains.is_new(row["deposit_id"]):
            user = deployed(state, chains, row["user_id"])
            contract = contract_holding(user, Pair(row["currency"], assets.NETWORKS[row["network"]]))
            if (deployment := chains.deployments.get(contract.chain_id)) is not None:
                deployment.mint(contract.proxy, contract.units(row["amount_cents"]))


def follow(state: State, chain_id: int, mined: Mined) -> None:
    """Debit the ledger for the withdrawals of a transaction, and note that its sender sent it.

    A withdrawal on a chain used a signature that had not expired and whose nonce was the current one: the live one.
    """
    if (chains := state.chains) is None:
        return
    sender = mined.transaction.sender
    state.db.execute(
        "INSERT OR REPLACE INTO chain_accounts (chain_id, address, nonce) VALUES (?, ?, ?)",
        (chain_id, sender, chains.deployments[chain_id].node.nonce(sender)),
    )
    for proxy in chains.deployments[chain_id].withdrawn_from(mined.logs):
        row = live(state, chains.owners[proxy])
        if row is None:
            raise LookupError("a withdrawal on the chain has no live signature")
        use(state, row)


def deployed(state: State, chains: Chains, user_id: str, first_admin: str | None = None) -> User:
    """Return the user, with contracts on all chains and their admins: the linked wallet, else `first_admin`."""
    user = users.find(state, user_id)
    if user is None:
        raise LookupError("deposits and withdrawals belong to a user")
    if user.wallet_chain == "evm":
        state.db.execute(
            "INSERT OR IGNORE INTO chain_admins (user_id, address) VALUES (?, ?)", (user_id, user.wallet_address)
        )
    if first_admin is not None and not admins(state, user):
        state.insert("chain_admins", user_id=user_id, address=first_admin)
    for contract in _on_chains(chains, user):
        deployment = chains.deployments[contract.chain_id]
        deployment.add_proxy(contract.proxy)
        chains.owners[contract.proxy] = user_id
        for admin in admins(state, user):
            deployment.admit(contract.proxy, admin)
    return user


def admins(state: State, user: User) -> list[str]:
    """Return who can send the user's withdrawals, in lower case."""
    return [row["address"] for row in state.rows("SELECT address FROM chain_admins WHERE user_id = ?", user.user_id)]


def _on_chains(chains: Chains, user: User) -> list[Contract]:
    return [contract for contract in contracts_of(user) if contract.chain_id in chains.deployments]


def paying(chains: Chains, user: User, row: sqlite3.Row) -> Contract | None:
    """Return the contract that a signed withdrawal pays from; None on Solana."""
    contract_id = json.loads(row["answer"])["execution"]["contractId"]
    return next((one for one in _on_chains(chains, user) if one.contract_id == contract_id), None)


def cover(chains: Chains, user: User, contract: Contract, units: int) -> None:
    """Bring a contract up to an amount, first from the user's other ones: the ledger is one pot for all chains."""
    here = chains.deployments[contract.chain_id]
    missing = max(0, units - here.balance(contract.proxy))
    here.mint(contract.proxy, missing)
    for other in _on_chains(chains, user):
        if other != contract:
            there = chains.deployments[other.chain_id]
            moved = min(missing, there.balance(other.proxy))
            there.burn(other.proxy, moved)
            missing -= moved


def pay(state: State, chains: Chains, row: sqlite3.Row) -> None:
    """Move the money of an executed withdrawal without a transaction, and void its signature."""
    user = deployed(state, chains, row["user_id"])
    if (contract := paying(chains, user, row)) is None:
        return
    deployment, units = chains.deployments[contract.chain_id], contract.units(row["amount_cents"])
    cover(chains, user, contract, units)
    deployment.burn(contract.proxy, units)
    deployment.mint(json.loads(row["answer"])["parameters"][3], units)
    deployment.raise_nonce(contract.proxy)

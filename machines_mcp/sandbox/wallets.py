"""Wallets: which chains the one that a user has linked is good for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from machines_mcp.sandbox.assets import Network
    from machines_mcp.sandbox.fields import Fields
    from machines_mcp.sandbox.users import User


def check_wallet(user: User, network: Network, fields: Fields, name: str) -> None:
    """Let a user move collateral on the chain; the field `name` is the one to blame.

    Without any wallet the EVM chains are open, because the documented journey makes the wallet optional.

    Raises:
        Refusal: 400 `wallet_missing_for_chain`, or `wallet_invalid_for_chain` for a wallet of the other family.
    """
    if user.wallet_chain is None:
        if network.family == "solana":
            fields.refuse(name, "needs a linked wallet of this chain", code="wallet_missing_for_chain")
    elif network.family in ("evm", "solana") and network.family != user.wallet_chain:
        fields.refuse(name, "needs a linked wallet of this chain's family", code="wallet_invalid_for_chain")

"""Wallets: the chains that a user's linked wallet can be used on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from machines_mcp.sandbox.assets import Network
    from machines_mcp.sandbox.fields import Fields
    from machines_mcp.sandbox.user import User


def check_wallet(user: User, network: Network, fields: Fields, name: str) -> None:
    """Check that the user's wallet can move collateral on the chain; a refusal names the field `name`.

    Without a wallet, EVM chains are allowed, because the documented journey makes the wallet optional.

    Raises:
        Refusal: 400 `wallet_missing_for_chain`, or `wallet_invalid_for_chain` if the wallet is of the other family.
    """
    if user.wallet_chain is None:
        if network.family == "solana":
            fields.refuse(name, "requires a linked wallet for this chain", code="wallet_missing_for_chain")
    elif network.family in ("evm", "solana") and network.family != user.wallet_chain:
        fields.refuse(name, "requires a linked wallet of this chain's family", code="wallet_invalid_for_chain")

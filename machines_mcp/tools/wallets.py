"""Wallets: the one that is linked to a user, and the family of chains that an address belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from machines_mcp.redaction.verbatim import AddressOrMemo

if TYPE_CHECKING:
    from machines_mcp.partner import User

Family: TypeAlias = Literal["evm", "solana"]


def linked_wallet(user: User) -> tuple[Family | None, AddressOrMemo | None]:
    """Return the family and the address of the user's wallet; None for what Machines does not say."""
    wallet = user.wallet
    address = user.wallet_address or (wallet.address if wallet else None)
    chain = wallet.chain if wallet else None
    return ("solana" if chain == "solana" else "evm" if chain == "evm" else None), address


def family_of_account(address: str) -> Family:
    """Return the family of chains that the address of a wallet or a token belongs to."""
    return "evm" if address[:2] in ("0x", "0X") else "solana"

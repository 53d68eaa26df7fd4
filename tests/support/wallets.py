"""Wallets of tests, which sign as an independent library does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


def wallet(seed: int) -> LocalAccount:
    """Return the account of a made-up key: the same again for the same seed."""
    limit = sys.getrecursionlimit()
    from eth_account import Account

    # The library raises the limit a hundredfold, with which nested JSON ends the process.
    sys.setrecursionlimit(limit)
    account: LocalAccount = Account.from_key(f"0x{seed:064x}")
    return account


def sign_typed_data(account: LocalAccount, typed: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return the signature of typed data and the digest that was signed."""
    from eth_account.messages import encode_typed_data

    signed = account.sign_message(encode_typed_data(full_message=typed))
    return bytes(signed.signature), bytes(signed.message_hash)

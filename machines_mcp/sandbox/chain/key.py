"""A private key of secp256k1 with its account."""

from __future__ import annotations

import secrets
from typing import Any, Final

from eth_keys.datatypes import PrivateKey

from machines_mcp.sandbox.chain.accounts import accounts

# Fees of the chains here are fixed, in wei per unit of gas.
GAS_PRICE: Final = 10**9
# More than any call of the contracts takes.
_GAS: Final = 1_000_000


def new_secret() -> str:
    """Return a random private key, as `0x` and 64 hex digits."""
    return f"0x{secrets.token_hex(32)}"


class Key:
    """A key of an account."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self._key = PrivateKey(bytes.fromhex(secret.removeprefix("0x")))
        self.address: str = self._key.public_key.to_checksum_address()

    def sign(self, digest: bytes) -> bytes:
        """Return the 65 bytes of a signature: r, the lower s, and 27 or 28."""
        signed = self._key.sign_msg_hash(digest).to_bytes()
        return signed[:64] + bytes([signed[64] + 27])

    def transaction(self, chain_id: int, nonce: int, to: str, data: bytes, gas: int = _GAS) -> bytes:
        """Return a signed transaction, ready to be sent."""
        from eth_utils.address import to_checksum_address

        called = to_checksum_address(to)
        fields: dict[str, Any] = {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "to": called,
            "data": data,
            "value": 0,
        }
        fees = {"gas": gas, "maxFeePerGas": GAS_PRICE, "maxPriorityFeePerGas": 0}
        return bytes(accounts().sign_transaction(fields | fees, self.secret).raw_transaction)

"""Read the accounts of a withdrawal on Solana. Their data comes from outside, so each read is bounded."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from base58_bech32.base58 import b58encode

MAX_ACCOUNT_BYTES = 16 * 1024
"""The most data of an account that is read."""
COLLATERAL = hashlib.sha256(b"account:SingleSignerCollateral").digest()[:8]
MULTISIG_COLLATERAL = hashlib.sha256(b"account:CollateralV2").digest()[:8]
COORDINATOR = hashlib.sha256(b"account:Coordinator").digest()[:8]

_KEY = 32
_MINT_BYTES, _DECIMALS_AT, _INITIALIZED_AT = 82, 44, 45
# Token-2022 pads a mint with extensions to the size of a token account, and then says which of the two it is.
_KIND_AT, _MINT_KIND = 165, 1


class UnreadableAccount(Exception):
    """The account has another layout."""


class MultisigCollateral(UnreadableAccount):
    """The collateral needs the signatures of several admins."""


@dataclass(frozen=True, slots=True)
class Collateral:
    """A collateral account with a single owner. Addresses are in base58."""

    coordinator: str
    nonce: int
    owner: str


def read_collateral(data: bytes) -> Collateral:
    """Return the fields of a collateral account. Raises `MultisigCollateral` or `UnreadableAccount`."""
    if data.startswith(MULTISIG_COLLATERAL):
        raise MultisigCollateral
    fields = _Fields(data, COLLATERAL)
    fields.take(_KEY)  # id
    coordinator = fields.address()
    fields.take(1)  # bump
    fields.take(fields.number())  # name
    return Collateral(coordinator, fields.number(), fields.address())


def read_executor(data: bytes) -> str:
    """Return the address of a coordinator's first executor, who signs withdrawals. Raises `UnreadableAccount`."""
    fields = _Fields(data, COORDINATOR)
    fields.take(_KEY + 1 + 3 * _KEY)  # id, bump, owner, creator, treasury
    fields.take(_KEY * fields.number())  # publishers
    if fields.number() == 0:
        raise UnreadableAccount
    return fields.address()


def read_decimals(data: bytes) -> int:
    """Return the decimals of a mint. Raises `UnreadableAccount`."""
    extended = _KIND_AT < len(data) <= MAX_ACCOUNT_BYTES and data[_KIND_AT] == _MINT_KIND
    if not (len(data) == _MINT_BYTES or extended) or data[_INITIALIZED_AT] != 1:
        raise UnreadableAccount
    return data[_DECIMALS_AT]


class _Fields:
    """Reads the fields of an Anchor account in order."""

    def __init__(self, data: bytes, discriminator: bytes) -> None:
        if len(data) > MAX_ACCOUNT_BYTES:
            raise UnreadableAccount
        self._data, self._at = data, 0
        if self.take(len(discriminator)) != discriminator:
            raise UnreadableAccount

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        end = self._at + length
        if end > len(self._data):
            raise UnreadableAccount
        taken, self._at = self._data[self._at : end], end
        return taken

    def address(self) -> str:
        """Return the next address."""
        return b58encode(self.take(_KEY)).decode("ascii")

    def number(self) -> int:
        """Return the next u32."""
        number: int = struct.unpack("<I", self.take(4))[0]
        return number

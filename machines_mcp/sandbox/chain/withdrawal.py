"""What the executor and an admin sign of a withdrawal, and the calldata that takes it to the chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from eth_abi import encode  # type: ignore[attr-defined]
from eth_hash.auto import keccak

from machines_mcp.sandbox.chain.abi import call_data
from machines_mcp.sandbox.chain.key import Key

_DOMAIN: Final = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
# `uint`, not `uint256`: the controller hashes this text.
_EXECUTOR_V1: Final = (
    "Withdraw(address user,address collateral,address asset,uint amount,address recipient,uint nonce,uint expiresAt)"
)
_EXECUTOR_V2: Final = (
    "Withdraw(address user,address collateral,address asset,uint256 amount,address recipient,uint256 nonce,"
    "uint256 expiresAt)"
)
_ADMIN: Final = "Withdraw(address user,address asset,uint256 amount,address recipient,uint256 nonce)"
_CALL_V1: Final = "withdrawAsset(address,address,uint256,address,uint256,bytes32,bytes)"
_CALL_V2: Final = "withdrawAsset(address,address,uint256,address,uint256,bytes32,bytes,bytes32[],bytes[],bool)"
# The wallets of the executor: the name and version of its domain, and what it signs.
_EXECUTOR: Final = {1: ("Rain Collateral", "1", _EXECUTOR_V1), 2: ("Coordinator", "2", _EXECUTOR_V2)}


@dataclass(frozen=True, slots=True)
class Terms:
    """A withdrawal that the admin `user` sends to an entry point of this `version`; `expires_at` in epoch seconds."""

    version: int
    chain_id: int
    entry_point: str
    user: str
    collateral: str
    asset: str
    amount: int
    recipient: str
    expires_at: int


def executor_signature(key: Key, terms: Terms, nonce: int, salt: bytes) -> bytes:
    """Sign as the executor."""
    name, version, form = _EXECUTOR[terms.version]
    body = encode(
        ["bytes32", "address", "address", "address", "uint256", "address", "uint256", "uint256"],
        [
            *(keccak(form.encode()), terms.user, terms.collateral, terms.asset),
            *(terms.amount, terms.recipient, nonce, terms.expires_at),
        ],
    )
    return key.sign(_digest(_domain(name, version, terms.chain_id, terms.entry_point, salt), body))


def admin_signature(key: Key, terms: Terms, nonce: int, salt: bytes) -> bytes:
    """Sign as an admin, for version 2."""
    body = encode(
        ["bytes32", "address", "address", "uint256", "address", "uint256"],
        [keccak(_ADMIN.encode()), terms.user, terms.asset, terms.amount, terms.recipient, nonce],
    )
    return key.sign(_digest(_domain("Collateral", "2", terms.chain_id, terms.collateral, salt), body))


def withdrawal_call(terms: Terms, executor: tuple[bytes, bytes], admin: tuple[bytes, bytes] | None) -> bytes:
    """Return the calldata for the entry point, from each signer's salt and signature."""
    signed = (terms.collateral, terms.asset, terms.amount, terms.recipient, terms.expires_at, *executor)
    if admin is None:
        return call_data(_CALL_V1, *signed)
    salt, signature = admin
    return call_data(_CALL_V2, *signed, [salt], [signature], True)


def _domain(name: str, version: str, chain_id: int, contract: str, salt: bytes) -> bytes:
    hashes = [keccak(text.encode()) for text in (_DOMAIN, name, version)]
    return encode(
        ["bytes32", "bytes32", "bytes32", "uint256", "address", "bytes32"], [*hashes, chain_id, contract, salt]
    )


def _digest(domain: bytes, body: bytes) -> bytes:
    return keccak(b"\x19\x01" + keccak(domain) + keccak(body))

"""Withdrawals on EVM chains: the typed data that an admin signs, the calldata, and who signed."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from machines_mcp.chain.order import CONTROLLER, COORDINATOR, CallPath, Order

FUNCTIONS: Final[Mapping[CallPath, str]] = {
    CONTROLLER: "withdrawAsset(address,address,uint256,address,uint256,bytes32,bytes)",
    COORDINATOR: "withdrawAsset(address,address,uint256,address,uint256,bytes32,bytes,bytes32[],bytes[],bool)",
}
"""The function to call, by call path."""

# The order of secp256k1. Each signature has a twin whose s is in the other half of it.
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_DOMAIN: Final = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
    ("salt", "bytes32"),
)
_WITHDRAW: Final = (
    ("user", "address"),
    ("asset", "address"),
    ("amount", "uint256"),
    ("recipient", "address"),
    ("nonce", "uint256"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The arguments of a call. `salts` and `signatures` are the admins'; on `controller_v1` there are none."""

    path: CallPath
    collateral: str
    token: str
    amount: int
    recipient: str
    expires_at: int
    salt: bytes
    signature: bytes
    salts: tuple[bytes, ...] = ()
    signatures: tuple[bytes, ...] = ()
    direct: bool = True


def typed_data(order: Order, admin: str, nonce: int, salt: bytes) -> dict[str, Any]:
    """Return what `eth_signTypedData_v4` takes once it is JSON text. Numbers over 53 bits are decimal strings."""
    from eth_utils.address import to_checksum_address

    return {
        "types": {"EIP712Domain": _members(_DOMAIN), "Withdraw": _members(_WITHDRAW)},
        "primaryType": "Withdraw",
        "domain": {
            "name": "Collateral",
            "version": "2",
            # MetaMask 10 read a decimal string as hex.
            "chainId": order.chain_id,
            "verifyingContract": order.collateral,
            "salt": f"0x{salt.hex()}",
        },
        "message": {
            "user": to_checksum_address(admin),
            "asset": order.token,
            "amount": str(order.amount),
            "recipient": order.recipient,
            "nonce": str(nonce),
        },
    }


def digest(typed: Mapping[str, Any]) -> bytes:
    """Return the EIP-712 digest of the typed data."""
    from eth_utils.crypto import keccak

    types, primary = typed["types"], typed["primaryType"]
    domain = _struct_hash(types, "EIP712Domain", typed["domain"])
    return keccak(b"\x19\x01" + domain + _struct_hash(types, primary, typed["message"]))


def recover(typed: Mapping[str, Any], signature: bytes) -> str | None:
    """Return the account that signed the typed data; None if the signature is none of secp256k1."""
    if len(signature) != 65 or signature[64] not in (0, 1, 27, 28):
        return None
    from eth_keys.datatypes import Signature
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    r, s, v = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64]), signature[64]
    try:
        key = Signature(vrs=(v % 27, r, s)).recover_public_key_from_msg_hash(digest(typed))
    except (BadSignature, ValidationError, ValueError):
        return None
    return key.to_checksum_address()


def canonical(signature: bytes) -> bytes:
    """Return the one form that contracts accept: v is 27 or 28, and s is in the lower half.

    Other forms recover to the same account, but revert on chain. Wallets return both.
    """
    if len(signature) != 65:
        return signature
    s, v = int.from_bytes(signature[32:64]), signature[64]
    v = v + 27 if v < 27 else v
    if _ORDER // 2 < s < _ORDER:
        s, v = _ORDER - s, 55 - v
    return signature[:32] + s.to_bytes(32) + bytes([v])


def calldata(order: Order, salts: Sequence[bytes] = (), signatures: Sequence[bytes] = ()) -> bytes:
    """Return the call. `coordinator_v2` needs a salt and a signature of each admin."""
    from eth_abi.abi import encode

    form = FUNCTIONS[order.path]
    values: list[Any] = [
        order.collateral,
        order.token,
        order.amount,
        order.recipient,
        order.expires_at,
        order.salt,
        order.signature,
    ]
    if order.path == COORDINATOR:
        values += [list(salts), list(signatures), True]
    return selector(form) + encode(_types(form), values)


def decoded(data: bytes) -> Decoded | None:
    """Return the arguments of calldata; None if it is not the call of a withdrawal."""
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError
    from eth_utils.address import to_checksum_address

    for path, form in FUNCTIONS.items():
        if data[:4] != selector(form):
            continue
        try:
            values = decode(_types(form), data[4:])
        except (DecodingError, OverflowError, ValueError):
            return None
        collateral, token, amount, recipient, expires_at, salt, signature, *admins = values
        salts, signatures, direct = admins or ((), (), True)
        return Decoded(
            path=path,
            collateral=to_checksum_address(collateral),
            token=to_checksum_address(token),
            amount=amount,
            recipient=to_checksum_address(recipient),
            expires_at=expires_at,
            salt=salt,
            signature=signature,
            salts=tuple(salts),
            signatures=tuple(signatures),
            direct=direct,
        )
    return None


def differences(found: Decoded | None, order: Order, salts: Sequence[bytes], signatures: Sequence[bytes]) -> list[str]:
    """Return the names of the arguments that differ from the order; `function` if it is another call."""
    if found is None or found.path != order.path:
        return ["function"]
    names = ("collateral", "token", "amount", "recipient", "expires_at", "salt", "signature")
    differs = [name for name in names if getattr(found, name) != getattr(order, name)]
    if found.salts != tuple(salts):
        differs.append("admin_salt")
    if found.signatures != tuple(signatures):
        differs.append("admin_signature")
    return differs if found.direct else [*differs, "direct"]


@functools.cache
def selector(form: str) -> bytes:
    """Return the first four bytes of the call of a function."""
    from eth_utils.crypto import keccak

    return keccak(text=form)[:4]


def _types(form: str) -> list[str]:
    return form[form.index("(") + 1 : -1].split(",")


def _members(fields: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in fields]


def _struct_hash(types: Mapping[str, Sequence[Mapping[str, str]]], name: str, values: Mapping[str, Any]) -> bytes:
    from eth_abi.abi import encode
    from eth_utils.crypto import keccak

    members = types[name]
    form = f"{name}({','.join(' '.join((member['type'], member['name'])) for member in members)})"
    kinds, row = ["bytes32"], [keccak(text=form)]
    for member in members:
        kind, value = _encodable(member["type"], values[member["name"]])
        kinds.append(kind)
        row.append(value)
    return keccak(encode(kinds, row))


def _encodable(kind: str, value: Any) -> tuple[str, Any]:
    from eth_utils.crypto import keccak

    if kind == "string":
        return "bytes32", keccak(text=value)
    if kind == "bytes32":
        return kind, bytes.fromhex(re.sub("^0x", "", value))
    return kind, int(value) if kind == "uint256" else value

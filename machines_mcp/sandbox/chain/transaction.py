"""A signed transaction, as wallets send it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_hash.auto import keccak

from machines_mcp.sandbox.chain.accounts import accounts


class NotATransaction(ValueError):
    """The bytes are no signed transaction that this chain takes. The message says why, in the words of other nodes."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction and its sender. `kind` is its EIP-2718 type; `price` the most that it pays for a unit of gas."""

    hash: str
    kind: int
    chain_id: int | None
    sender: str
    nonce: int
    to: str
    data: bytes
    value: int
    gas: int
    price: int


def read_transaction(raw: bytes) -> Transaction:
    """Decode the bytes and recover the sender.

    Raises:
        NotATransaction: They are malformed, or create a contract.
    """
    try:
        sender = str(accounts().recover_transaction(raw))
        fields = _legacy(raw) if raw[0] >= 0xC0 else _typed(raw)
    except Exception:
        # Several libraries decode here, each with its own errors.
        raise NotATransaction("the transaction could not be decoded") from None
    if len(fields["to"]) != 20:
        raise NotATransaction("contract creation is not supported")
    from eth_utils.address import to_checksum_address

    return Transaction(
        hash=f"0x{keccak(raw).hex()}",
        kind=fields["type"],
        chain_id=fields["chainId"],
        sender=sender,
        nonce=fields["nonce"],
        to=to_checksum_address(fields["to"]),
        data=bytes(fields["data"]),
        value=fields["value"],
        gas=fields["gas"],
        price=fields["maxFeePerGas"] if "maxFeePerGas" in fields else fields["gasPrice"],
    )


def _typed(raw: bytes) -> dict[str, Any]:
    from eth_account.typed_transactions import TypedTransaction  # type: ignore[attr-defined]
    from hexbytes import HexBytes

    return dict(TypedTransaction.from_bytes(HexBytes(raw)).as_dict())


def _legacy(raw: bytes) -> dict[str, Any]:
    import rlp

    nonce, price, gas, to, value, data, v, _, _ = rlp.decode(raw)
    numbers = {name: int.from_bytes(part) for name, part in (("nonce", nonce), ("gasPrice", price), ("gas", gas))}
    # EIP-155: 35 or 36 more than twice the chain id. Without one it is valid on every chain.
    signed = int.from_bytes(v)
    chain_id = (signed - 35) // 2 if signed >= 35 else None
    return numbers | {"type": 0, "to": to, "data": data, "value": int.from_bytes(value), "chainId": chain_id}

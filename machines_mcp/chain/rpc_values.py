"""The values in a node's answers, typed. Any other value means that the node is not available."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from machines_mcp.chain.faults import RpcUnavailable

# The largest number that the state folder can hold.
MAX_BLOCK = 2**63 - 1
# The codes of a reverted call: of geth, and of Nethermind and OpenEthereum.
_REVERTED = (3, -32015)


class Reverted(Exception):
    """The contract refused the call. `data` is what it returned, such as an encoded reason."""

    def __init__(self, data: bytes) -> None:
        super().__init__("the call reverted")
        self.data = data


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """An event of a transaction. The address is in lower case."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a mined transaction did. Addresses are in lower case; `target` is None if it created a contract."""

    succeeded: bool
    block: int
    sender: str
    target: str | None
    logs: tuple[Log, ...]


def revert_data(error: Any) -> bytes | None:
    """Return what a reverted call returned, from the node's error; None if the error is another one."""
    if not isinstance(error, dict):
        return None
    code, message, data = error.get("code"), error.get("message"), error.get("data")
    # Some nodes put what the contract returned into an object.
    data = data.get("data") if isinstance(data, dict) else data
    if code in _REVERTED or (isinstance(message, str) and "revert" in message.lower()):
        # Nethermind writes a word before the hex digits.
        found = re.search(r"0x((?:[0-9a-fA-F]{2})*)$", data) if isinstance(data, str) else None
        return bytes.fromhex(found[1]) if found else b""
    return None


def as_quantity(value: Any) -> int:
    """Return a number from its hex form."""
    if not isinstance(value, str) or not re.fullmatch(r"0x[0-9a-fA-F]{1,64}", value):
        _unusable()
    return int(value, 16)


def as_data(value: Any) -> bytes:
    """Return bytes from their hex form."""
    if not isinstance(value, str) or not re.fullmatch(r"0x(?:[0-9a-fA-F]{2})*", value):
        _unusable()
    return bytes.fromhex(value[2:])


def as_input(value: Any, transaction_hash: str) -> bytes:
    """Return the calldata of the transaction with this hash."""
    if str(_member(value, "hash")).lower() != transaction_hash.lower():
        _unusable()
    return as_data(_member(value, "input"))


def as_receipt(value: Any, transaction_hash: str) -> Receipt:
    """Return the receipt of the transaction with this hash."""
    if str(_member(value, "transactionHash")).lower() != transaction_hash.lower():
        _unusable()
    logs, target = _member(value, "logs"), _member(value, "to")
    block = as_quantity(_member(value, "blockNumber"))
    return Receipt(
        succeeded=as_quantity(_member(value, "status")) == 1,
        block=block if block <= MAX_BLOCK else _unusable(),
        sender=_address(_member(value, "from")),
        target=None if target is None else _address(target),
        logs=tuple(map(_log, logs)) if isinstance(logs, list) else _unusable(),
    )


def _log(value: Any) -> Log:
    topics = _member(value, "topics")
    return Log(
        address=_address(_member(value, "address")),
        topics=tuple(map(as_data, topics)) if isinstance(topics, list) else _unusable(),
        data=as_data(_member(value, "data")),
    )


def _address(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"0x[0-9a-fA-F]{40}", value):
        _unusable()
    return value.lower()


def _member(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, Mapping) and name in value else _unusable()


def _unusable() -> NoReturn:
    raise RpcUnavailable("its answer is not JSON-RPC")

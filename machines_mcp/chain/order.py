"""Read the API's answer as an order: where to send, which token, how much, to whom, until when, signed by whom."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from machines_mcp.chain.faults import Malformed, NotSigned, Unsupported

CallPath = Literal["controller_v1", "coordinator_v2", "solana_v2_02"]

CONTROLLER: Final = "controller_v1"
COORDINATOR: Final = "coordinator_v2"
SOLANA: Final = "solana_v2_02"
_PATHS: Mapping[str, CallPath] = {CONTROLLER: CONTROLLER, COORDINATOR: COORDINATOR, SOLANA: SOLANA}
_PARAMETERS = 7
_MAX_EVM_AMOUNT = 2**256 - 1
_MAX_SOLANA_AMOUNT = 2**64 - 1
# The year 2200, in epoch seconds: a time in milliseconds is later.
_LATEST = 7_258_118_400
# Larger integers lose precision in JSON parsers that use doubles.
_MAX_FLOAT = 2**53 - 1
_EVM_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")
_SOLANA_ADDRESS = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the API signed. Addresses are in their normal form, the amount in base units of the token."""

    path: CallPath
    chain_id: int
    target: str
    """The contract or program to call."""
    collateral: str
    token: str
    amount: int
    recipient: str
    expires_at: int
    """In epoch seconds."""
    salt: bytes
    """32 bytes that the executor chose."""
    signature: bytes
    """The executor's: 65 bytes on EVM chains, 64 on Solana."""


def read_order(answer: Mapping[str, Any]) -> Order:
    """Read a stored answer of `POST /withdrawals`, in snake case.

    Raises:
        NotSigned: It has no signature yet.
        Unsupported: Its call path is not known.
        Malformed: It can't be read.
    """
    parameters = _signed(answer)
    execution = answer.get("execution")
    if not isinstance(execution, Mapping):
        raise Malformed("execution")
    path = _path(execution.get("call_path"))
    where = _where(answer)
    solana = path == SOLANA
    places = [f"{where}[{index}]" for index in range(_PARAMETERS)]
    order = Order(
        path=path,
        chain_id=_whole(execution.get("chain_id"), "execution.chainId", _MAX_FLOAT),
        target=_address(execution.get("call_target"), "execution.callTarget", solana=solana),
        collateral=_address(parameters[0], places[0], solana=solana),
        token=_address(parameters[1], places[1], solana=solana, native=solana),
        amount=_whole(parameters[2], places[2], _MAX_SOLANA_AMOUNT if solana else _MAX_EVM_AMOUNT),
        recipient=_address(parameters[3], places[3], solana=solana),
        expires_at=_whole(parameters[4], places[4], _LATEST),
        salt=octets(parameters[5], 32, places[5]),
        signature=octets(parameters[6], 64 if solana else 65, places[6]),
    )
    _compare(answer, order)
    return order


def same_address(one: object, other: object) -> bool:
    """Whether two texts are the same address: the case of hex digits is only a checksum."""
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    return one == other or (_EVM_ADDRESS.fullmatch(one) is not None and one.lower() == other.lower())


def octets(value: object, size: int, position: str) -> bytes:
    """Return so many bytes from hex, base64 or a list of numbers: the issuer's API has been seen to send each.

    Raises:
        Malformed: The value is none of them, or has another size.
    """
    found: bytes | None = None
    if isinstance(value, list):
        if len(value) == size and all(type(each) is int and 0 <= each <= 255 for each in value):
            found = bytes(value)
    elif isinstance(value, str):
        # Base64 of so many bytes is shorter than hex of them, so one text is never both.
        if re.fullmatch(rf"(0[xX])?[0-9a-fA-F]{{{2 * size}}}", value):
            found = bytes.fromhex(value[-2 * size :])
        elif len(value) == 4 * -(-size // 3):
            try:
                found = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                found = None
    if found is None or len(found) != size:
        raise Malformed(position)
    return found


def _signed(answer: Mapping[str, Any]) -> Sequence[Any]:
    """Return the seven parameters."""
    if answer.get("status") != "ready":
        raise NotSigned
    signature, where = answer.get("signature"), _where(answer)
    found = _parameters(answer, where)
    if found in (None, [], {}) or (isinstance(signature, Mapping) and signature.get("data", "unsaid") in (None, "")):
        raise NotSigned
    if not isinstance(found, list) or len(found) != _PARAMETERS:
        raise Malformed(where)
    if found[6] in (None, "", []):
        raise NotSigned
    return found


def _where(answer: Mapping[str, Any]) -> str:
    """Return the place of the parameters. Some responses have them only inside the signature."""
    inside = isinstance(answer.get("signature"), Mapping) and answer["signature"].get("parameters") is not None
    return "signature.parameters" if inside and answer.get("parameters") is None else "parameters"


def _parameters(answer: Mapping[str, Any], where: str) -> Any:
    return answer.get("parameters") if where == "parameters" else answer["signature"]["parameters"]


def _compare(answer: Mapping[str, Any], order: Order) -> None:
    """Compare what the signature repeats with the parameters."""
    signature = answer.get("signature")
    if isinstance(signature, str):
        signature = {"data": signature}
    if not isinstance(signature, Mapping):
        return
    for name, known in (("data", order.signature), ("salt", order.salt)):
        place = f"signature.{name}"
        if signature.get(name) is not None and octets(signature[name], len(known), place) != known:
            raise Malformed(place)
    inside = signature.get("parameters")
    if inside not in (None, [], {}) and answer.get("parameters") is not None:
        alone = {**answer, "parameters": None, "signature": {"parameters": inside}}
        if read_order(alone) != order:
            raise Malformed("signature.parameters")


def _path(value: object) -> CallPath:
    if not isinstance(value, str):
        raise Malformed("execution.callPath")
    if value not in _PATHS:
        raise Unsupported(value)
    return _PATHS[value]


def _whole(value: object, position: str, most: int) -> int:
    """Return a positive whole number, from a JSON number or its decimal digits."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_FLOAT:
        value = int(value)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,78}", value):
        value = int(value)
    if type(value) is not int or not 0 < value <= most:
        raise Malformed(position)
    return value


def _address(value: object, position: str, *, solana: bool, native: bool = False) -> str:
    """Return an address in its normal form. `native`: the zero address is allowed, for native SOL."""
    found = None
    if isinstance(value, str):
        found = _solana_address(value) if solana else _evm_address(value)
    if found is None or not (any(found[1]) or native):
        raise Malformed(position)
    return found[0]


def _evm_address(value: str) -> tuple[str, bytes] | None:
    if not _EVM_ADDRESS.fullmatch(value):
        return None
    from eth_utils.address import to_checksum_address

    checksummed = to_checksum_address(value.lower())
    digits = value[2:]
    # With letters in both cases the case is a checksum.
    if digits not in (digits.lower(), digits.upper()) and digits != checksummed[2:]:
        return None
    return checksummed, bytes.fromhex(digits)


def _solana_address(value: str) -> tuple[str, bytes] | None:
    if not _SOLANA_ADDRESS.fullmatch(value):
        return None
    from base58_bech32.base58 import b58decode

    try:
        key = b58decode(value)
    except ValueError:
        return None
    return (value, key) if len(key) == 32 else None

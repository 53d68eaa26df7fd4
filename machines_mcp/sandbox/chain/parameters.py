"""The parameters of JSON-RPC requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_DATA: Final = re.compile(r"0x([0-9a-fA-F]{2})*")
_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}")
# The chain has no forks, so all of these are the newest block.
_NEWEST: Final = frozenset({"latest", "pending", "safe", "finalized"})


class BadParameter(ValueError):
    """A parameter is missing or has another form. The message names its position, never its value."""


def data(given: list[Any], index: int) -> bytes:
    """Return bytes, written as `0x` and pairs of hex digits.

    Raises:
        BadParameter: They are not.
    """
    return bytes.fromhex(_text(given, index, _DATA, "data in hex")[2:])


def quantity(given: list[Any], index: int) -> int:
    """Return a number of at most 256 bits, written in hex.

    Raises:
        BadParameter: It is not.
    """
    return int(_text(given, index, _QUANTITY, "a quantity in hex"), 16)


def address(given: list[Any], index: int) -> str:
    """Return an address of 20 bytes.

    Raises:
        BadParameter: It is none.
    """
    if len(data(given, index)) != 20:
        raise BadParameter(f"parameter {index} must be an address")
    return str(given[index])


def hash_of(given: list[Any], index: int) -> str:
    """Return a hash of 32 bytes, in lower case.

    Raises:
        BadParameter: It is none.
    """
    if len(data(given, index)) != 32:
        raise BadParameter(f"parameter {index} must be a hash")
    return str(given[index]).lower()


def count(given: list[Any], index: int, named: Mapping[str, int], newest: int) -> int:
    """Return a block's number. The names of the newest block mean `newest`.

    Raises:
        BadParameter: It is neither a number nor a name.
    """
    value = given[index] if index < len(given) else "latest"
    if not isinstance(value, str):
        return quantity(given, index)
    return newest if value in _NEWEST else named[value] if value in named else quantity(given, index)


def _text(given: list[Any], index: int, pattern: re.Pattern[str], what: str) -> str:
    value = given[index] if index < len(given) else None
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadParameter(f"parameter {index} must be {what}")
    return value

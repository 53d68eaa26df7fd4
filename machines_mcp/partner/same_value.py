"""Decide whether a response repeats a requested value. APIs change the case, the padding and the rounding of values."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

from machines_mcp.partner.formats.addresses import contract_fault, same_address
from machines_mcp.partner.formats.networks import may_have_chain

_HEX = re.compile(r"0[xX][0-9a-fA-F]+")
_DIGITS = re.compile(r"[0-9]{1,100}")
# How many units of a token are one US cent. The dollar tokens that hold collateral have 6 decimals.
_UNITS_PER_CENT = 10**4
PARAMETERS = 7
_OPEN = ("active", "locked", "not_activated")


def equal(requested: Any, found: Any) -> bool:
    """Whether two JSON values are equal. True and 1 are not, 1 and 1.0 are."""
    return isinstance(requested, bool) == isinstance(found, bool) and bool(requested == found)


def same_word(requested: Any, found: Any) -> bool:
    """Whether two texts are equal in any case, as tickers and networks are."""
    return isinstance(requested, str) and isinstance(found, str) and requested.casefold() == found.casefold()


def same_account(requested: Any, found: Any) -> bool:
    """Whether two texts are the same address. The case of hex digits is only a checksum; elsewhere it has a meaning."""
    if not isinstance(requested, str) or not isinstance(found, str):
        return False
    hexadecimal = _HEX.fullmatch(requested) is not None and requested.lower() == found.lower()
    return hexadecimal or same_address(requested, found)


def same_amount(requested: Any, found: Any) -> bool:
    """Whether two amounts are equal up to rounding, a millionth."""
    return _is_number(requested) and _is_number(found) and math.isclose(requested, found, rel_tol=1e-6)


def same_cents_on_chain(cents: Any, found: Any) -> bool:
    """Whether an amount on chain is so many US cents in units of a dollar token."""
    return bool(whole(found) == cents * _UNITS_PER_CENT)


def on_network(network: Any, found: Any) -> bool:
    """Whether a value is a chain id that the network can have."""
    return isinstance(network, str) and _is_number(found) and may_have_chain(network, found)


def whole(value: Any) -> int | float | None:
    """Return the number that a parameter of a transaction holds; None if it holds none that can be read."""
    if isinstance(value, str):
        if _DIGITS.fullmatch(value):
            return int(value)
        return int(value, 16) if _HEX.fullmatch(value) and len(value) <= 66 else None
    return value if _is_number(value) else None


def is_text(requested: Any, found: Any) -> bool:
    """Whether a value is text."""
    return isinstance(found, str)


def is_account(requested: Any, found: Any) -> bool:
    """Whether a value is an address on a chain with collateral, in any case of hex digits. The zero address is none."""
    if not isinstance(found, str):
        return False
    return contract_fault(found.lower() if _HEX.fullmatch(found) else found) is None


def is_transaction(status: Any, found: Any) -> bool:
    """Whether a value has the seven parameters of a transaction, with those that are compared in a known form.

    A `pending` response may have an empty value, because nothing is signed.
    """
    if status == "pending" and found in ([], {}):
        return True
    if not isinstance(found, list) or len(found) != PARAMETERS or whole(found[2]) is None:
        return False
    return all(isinstance(found[index], str) and bool(found[index].strip()) for index in (0, 1, 3))


def has_one_transaction(requested: Any, found: Any) -> bool:
    """Whether a signature has no parameters except its own `parameters`."""
    return not any(map(_names_parameters, found.values() if isinstance(found, dict) else (found,)))


def never(requested: Any, found: Any) -> bool:
    """Accept no value: a response that has one can't be trusted."""
    return False


def same_label(requested: Any, found: Any) -> bool:
    """Whether two encrypted fields are equal. The padding of base64 does not matter."""
    return all(_unpadded(requested, name) == _unpadded(found, name) is not None for name in ("iv", "ct"))


def within(requested: Any, found: Any) -> bool:
    """Whether a list has only requested members. Fewer are fine."""
    return isinstance(found, list) and all(isinstance(each, str) and each in requested for each in found)


def one_of(requested: str, found: Any) -> bool:
    """Whether a value is one of those in a comma-separated list."""
    members: Collection[str] = requested.split(",")
    return isinstance(found, str) and found in members


def spends_no_more(before: Any, found: Any) -> bool:
    """Whether a card of this status can't spend more than one of the status from before."""
    closed = found in (before, "canceled") or (found == "locked" and before != "canceled")
    return before == "active" or closed


def is_closed(requested: Any, found: Any) -> bool:
    """Whether the status of a card that was to be closed is not one of an open card."""
    return found not in _OPEN


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names_parameters(value: Any) -> bool:
    if isinstance(value, dict):
        return "parameters" in value or any(map(_names_parameters, value.values()))
    return isinstance(value, list) and any(map(_names_parameters, value))


def _unpadded(value: Any, name: str) -> str | None:
    text = value.get(name) if isinstance(value, dict) else None
    return text.rstrip("=") if isinstance(text, str) else None

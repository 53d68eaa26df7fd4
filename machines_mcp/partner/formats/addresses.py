"""Addresses of blockchains: which can be known to be wrong, and which are the same."""

from __future__ import annotations

import re

from machines_mcp.partner.formats.address_formats import FORMATS, NORMAL_FORMS, Account
from machines_mcp.partner.formats.networks import Family, family_of

_ZERO = "must not be the zero address: money sent there is lost"


def address_fault(network: str, address: str, *, test: bool = True) -> str | None:
    """Return why the network has no such address, as words after a field's name; None if it may have.

    `test`: addresses of test networks are accepted too.
    """
    family = family_of(network)
    return None if family is None else _fault(family, address, test=test)


def contract_fault(address: str) -> str | None:
    """Like `address_fault`, for a contract or wallet on an EVM network or on Solana."""
    return _fault(_family(address), address, test=True)


def token_fault(address: str) -> str | None:
    """Like `contract_fault`, for a token that collateral is held in. Solana's zero address is that of native SOL."""
    fault = contract_fault(address)
    if fault != _ZERO:
        return fault
    return "must not be the zero address: no token has it" if _family(address) == "evm" else None


def normal_address(network: str, address: str) -> str:
    """Return the one form of an address, to compare it with another. An invalid address is returned unchanged."""
    # On an unknown network, an address like those of EVM networks is taken for one.
    family = family_of(network) or "evm"
    normal = NORMAL_FORMS.get(family) if re.fullmatch(FORMATS[family].pattern, address) else None
    return address if normal is None else normal(address)


def same_address(first: str, second: str) -> bool:
    """Whether two texts are the same address on any network."""
    return first == second or any(
        all(re.fullmatch(FORMATS[family].pattern, address) for address in (first, second))
        and normal(first) == normal(second)
        for family, normal in NORMAL_FORMS.items()
    )


def _family(address: str) -> Family:
    return "evm" if address[:2] in ("0x", "0X") else "solana"


def _fault(family: Family, address: str, *, test: bool) -> str | None:
    account, form = _account(family, address), FORMATS[family]
    if account is None:
        other = next((FORMATS[one].name for one in FORMATS if _account(one, address) is not None), None)
        if other is None and form.checksum and re.fullmatch(form.pattern, address):
            return "has a wrong checksum: at least one character is wrong, so copy it again"
        return f"must be an address of {form.name}: {form.form}" + (f"; this is one of {other}" if other else "")
    if not any(account.key):
        return _ZERO
    if account.test and not test:
        return "must not be an address of a test network"
    return None


def _account(family: Family, address: str) -> Account | None:
    """Return what an address of the family names; None if it is no such address."""
    if not re.fullmatch(FORMATS[family].pattern, address):
        return None
    try:
        return FORMATS[family].decode(address)
    except ValueError:
        return None

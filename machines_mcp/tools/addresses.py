"""Addresses as arguments: a wallet on an EVM chain or on Solana."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from machines_mcp.partner.formats.addresses import contract_fault
from machines_mcp.redaction.verbatim import Verbatim, VerbatimArgument


def valid(value: Verbatim, fault: str | None) -> Verbatim:
    """Return the value, for a validator of pydantic.

    Raises:
        PydanticCustomError: There is a fault.
    """
    if fault is not None:
        raise PydanticCustomError("machines_rule", fault)
    return value


WalletAddress = Annotated[
    Verbatim,
    VerbatimArgument(pattern=r"^(0x[0-9a-fA-F]{40}|[1-9A-HJ-NP-Za-km-z]{32,44})$"),
    AfterValidator(lambda value: valid(value, contract_fault(value))),
]

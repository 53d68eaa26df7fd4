"""Addresses and memos that Machines sends: exact, or left out.

Money follows them, so they are shown unmasked. In return, each must have the form of its network, and must not look
like a card number, a security code or a national id. Only a memo of digits alone may: memos are numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from machines_mcp.partner.formats.addresses import address_fault, contract_fault
from machines_mcp.partner.formats.memos import memo_fault
from machines_mcp.partner.models.types import whole_as_text
from machines_mcp.redaction.verbatim import AddressOrMemo, AddressOrMemoArgument

_Check = Callable[[AddressOrMemo, ValidationInfo], AddressOrMemo]


def _unlike_secrets(value: AddressOrMemo) -> AddressOrMemo:
    from machines_mcp.redaction.detectors import masked_text

    return _valid(value, None if masked_text(value) == value else "looks like a card number or a national id")


def _memo_unlike_secrets(value: AddressOrMemo) -> AddressOrMemo:
    return value if value.isdigit() else _unlike_secrets(value)


def _of_network(field: str, fault: Callable[[str, str], str | None]) -> _Check:
    """Return a validator of a value on the network that an earlier field of the model names."""
    return lambda value, info: _valid(value, fault(info.data.get(field) or "", value))


def _valid(value: AddressOrMemo, fault: str | None) -> AddressOrMemo:
    if fault is not None:
        raise ValueError(fault)
    return value


_Address = Annotated[AddressOrMemo, AddressOrMemoArgument(), AfterValidator(_unlike_secrets)]
_Memo = Annotated[
    AddressOrMemo,
    AddressOrMemoArgument(),
    AfterValidator(_memo_unlike_secrets),
    BeforeValidator(whole_as_text),
]
# The fields that name the network come first in their models.
PayinAddress = Annotated[_Address, AfterValidator(_of_network("from_network", address_fault))]
PayinMemo = Annotated[_Memo, AfterValidator(_of_network("from_network", memo_fault))]
PayoutAddress = Annotated[_Address, AfterValidator(_of_network("to_network", address_fault))]
PayoutMemo = Annotated[_Memo, AfterValidator(_of_network("to_network", memo_fault))]
# A wallet or a contract, on an EVM network or on Solana.
Account = Annotated[_Address, AfterValidator(lambda value: _valid(value, contract_fault(value)))]

"""The arguments of withdrawals. What can be known to be wrong is refused before anybody is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo

from machines_mcp.partner.formats.addresses import token_fault
from machines_mcp.partner.formats.payees import (
    LEAST_ADDRESS,
    MOST_ADDRESS,
    MOST_MEMO,
    PLAIN,
    PLAIN_FORM,
    payee_address_fault,
    payee_memo_fault,
)
from machines_mcp.protocol.tool import WORDS_REFUSED, Cents, UserInput
from machines_mcp.redaction.verbatim import Verbatim, VerbatimArgument
from machines_mcp.tools.addresses import WalletAddress, valid
from machines_mcp.tools.assets import NetworkId, Ticker

TO_THE_LETTER = ("address", "extra_id", "admin_address", "source_token_address")
"""Terms that are sent and shown unaltered."""
_PLAIN_TEXT: dict[str, Any] = WORDS_REFUSED | {"form": PLAIN_FORM}
_VISIBLE_FORM: dict[str, Any] = {"form": "must have visible ASCII characters only, without spaces"}


def _address(value: Verbatim, info: ValidationInfo) -> Verbatim:
    # Without a valid network, its own fault is enough.
    return valid(value, payee_address_fault(info.data["network"], value) if "network" in info.data else None)


def _memo(value: Verbatim, info: ValidationInfo) -> Verbatim:
    return valid(value, payee_memo_fault(info.data["network"], value) if "network" in info.data else None)


def _token(value: Verbatim) -> Verbatim:
    return valid(value, token_fault(value))


class QuoteWithdrawal(UserInput):
    amount_cents: Cents | None = Field(default=None, description="US cents, 2500 is $25; requires address")
    currency: str = Ticker
    network: str = NetworkId
    address: (
        Annotated[
            Verbatim,
            VerbatimArgument(min_length=LEAST_ADDRESS, max_length=MOST_ADDRESS, pattern=PLAIN),
            AfterValidator(_address),
        ]
        | None
    ) = Field(default=None, description="Destination the user gave; read it back first", json_schema_extra=_PLAIN_TEXT)
    extra_id: (
        Annotated[Verbatim, VerbatimArgument(max_length=MOST_MEMO, pattern=PLAIN), AfterValidator(_memo)] | None
    ) = Field(
        default=None,
        description="Memo or tag, if the network takes one",
        json_schema_extra=_PLAIN_TEXT,
    )
    admin_address: WalletAddress | None = Field(
        default=None,
        description="Sending wallet; default: the user's linked EVM wallet",
        examples=["0x and the user's own 40 hex digits"],
    )
    source_chain_id: int | None = Field(default=None, ge=1, le=2**53, description="Chain id to pay from, as 8453")
    source_token_address: (
        Annotated[Verbatim, VerbatimArgument(min_length=4, max_length=200, pattern=r"^[!-~]+$"), AfterValidator(_token)]
        | None
    ) = Field(default=None, description="Token to pay from", json_schema_extra=_VISIBLE_FORM)

    @classmethod
    def broken_rules(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        missing = [name for name in ("amount_cents", "address") if name not in given]
        if len(missing) == 1:
            yield missing[0], "is required for a quote; without amount_cents and address, only the range is returned"


class CreateWithdrawal(UserInput):
    quote_id: Annotated[Verbatim, VerbatimArgument(pattern=r"^quote_[0-9a-f]{32}$")] = Field(
        description="From quote_withdrawal", examples=["the quote_id from quote_withdrawal"]
    )

"""The form of a payee: currency, network, address and memo. Tools and policies take the same."""

from __future__ import annotations

import re

from machines_mcp.partner.formats.addresses import address_fault
from machines_mcp.partner.formats.memos import memo_fault
from machines_mcp.partner.vocabulary import CODE
from machines_mcp.redaction.placeholders import placeholder_fault, word_fault

# Printable and without quotes, so a question shows the value unchanged.
PLAIN = r"^[!#-&(-_a-~]+$"
PLAIN_FORM = "must have visible ASCII characters only, without spaces and quotes"
LEAST_ADDRESS, MOST_ADDRESS, MOST_MEMO = 4, 200, 120


def code_fault(value: str) -> str | None:
    """Return why the text is no ticker or network id, as words after a field's name; None if it may be one."""
    return None if re.fullmatch(CODE, value) else "must be spelled as list_withdrawal_assets spells it"


def payee_address_fault(network: str, address: str) -> str | None:
    """Return why no withdrawal on the network takes the address, as words after a field's name; None if one may."""
    if not LEAST_ADDRESS <= len(address) <= MOST_ADDRESS:
        return f"must have {LEAST_ADDRESS} to {MOST_ADDRESS} characters"
    return _plain_fault(address) or address_fault(network, address)


def payee_memo_fault(network: str, memo: str) -> str | None:
    """Return why no withdrawal on the network takes the memo, as words after a field's name; None if one may."""
    if not 0 < len(memo) <= MOST_MEMO:
        return f"must have 1 to {MOST_MEMO} characters"
    return _plain_fault(memo) or memo_fault(network, memo)


def _plain_fault(value: str) -> str | None:
    if not re.fullmatch(PLAIN, value):
        return PLAIN_FORM
    return word_fault(value) or placeholder_fault(value)

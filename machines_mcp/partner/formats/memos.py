"""Memos of withdrawals: the destination tag, memo or payment id that a network takes besides an address."""

from __future__ import annotations

import re

from machines_mcp.partner.formats.networks import family_of

_LARGEST_TAG = 2**32 - 1
_WITHOUT = frozenset({"evm", "bitcoin", "litecoin", "dogecoin", "bitcoin_cash", "tron"})


def memo_fault(network: str, memo: str) -> str | None:
    """Return why the network has no such memo, as words after a field's name; None if it may have."""
    family = family_of(network)
    if family in _WITHOUT:
        return "is not used on this network; omit it"
    if family == "ripple" and not (re.fullmatch(r"0|[1-9][0-9]{0,9}", memo) and int(memo) <= _LARGEST_TAG):
        return f"must be a destination tag: a whole number from 0 to {_LARGEST_TAG}, without leading zeros"
    if family == "stellar" and len(memo.encode()) > 28 and not re.fullmatch(r"[0-9a-fA-F]{64}", memo):
        return "must have at most 28 characters, or be a hash of 64 hex digits"
    if family == "hedera" and len(memo.encode()) > 100:
        return "must have at most 100 characters"
    return None

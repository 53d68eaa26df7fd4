"""Calls and events by their signatures, and the reasons of reverts."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from eth_abi import decode, encode  # type: ignore[attr-defined]
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

# The selector of `Error(string)`, which carries a reason in words.
_ERROR: Final = bytes.fromhex("08c379a0")


def call_data(form: str, *values: Any) -> bytes:
    """Return the calldata of a function such as `transfer(address,uint256)`."""
    selector, types = _function(form)
    return selector + encode(types, values)


@cache
def _function(form: str) -> tuple[bytes, list[str]]:
    """Return a function's selector and the types of its arguments, none of which is a tuple."""
    inner = form[form.index("(") + 1 : -1]
    return keccak(form.encode())[:4], inner.split(",") if inner else []


def topic(form: str) -> str:
    """Return the first topic of an event, as `0x` and 64 hex digits."""
    return f"0x{keccak(form.encode()).hex()}"


def reason(output: bytes) -> str:
    """Return the reason of a revert in words; empty if it gave none."""
    if output[:4] != _ERROR:
        return ""
    try:
        (text,) = decode(["string"], output[4:])
    except (DecodingError, UnicodeDecodeError):
        return ""
    return str(text)

"""Check the check digit."""

from __future__ import annotations

from machines_mcp.redaction.luhn import passes_luhn


def test_only_one_check_digit_passes() -> None:
    number = b"411111111111111"
    assert [digit for digit in b"0123456789" if passes_luhn(bytearray(number + bytes([digit])))] == list(b"1")


def test_swapped_digits_fail() -> None:
    assert passes_luhn(b"79927398713")
    assert not passes_luhn(b"79927398731")

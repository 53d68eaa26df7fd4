"""The check digit of card numbers (ISO/IEC 7812-1, annex B)."""

from __future__ import annotations


def passes_luhn(digits: bytes | bytearray) -> bool:
    """Return whether the last of these ASCII digits is their check digit. Makes no copy of them."""
    total = 0
    for place, byte in enumerate(reversed(digits)):
        value = (byte - ord("0")) << (place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0

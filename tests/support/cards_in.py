"""Find card numbers in a text without using the output filter's rules."""

from __future__ import annotations

import re

from tests.support.card_numbers import check_digit

_RUN = re.compile(r"(?<![0-9A-Za-z])\d(?:[ -]?\d){12,18}(?![0-9A-Za-z])")
# Longest lengths first: Visa, Mastercard, American Express, Discover, Diners, JCB, UnionPay, Maestro.
_ISSUER = re.compile(r"4|5[0-9]|2[2-7]|3[0-9]|6|81|82")


def cards_in(text: str) -> list[str]:
    """Return the numbers of 13 to 19 digits within an issuer's range that pass the Luhn check."""
    runs = (re.sub(r"\D", "", found[0]) for found in _RUN.finditer(text))
    return [n for n in runs if len(set(n)) > 2 and _ISSUER.match(n) and check_digit(n[:-1]) == n[-1]]

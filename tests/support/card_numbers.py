"""Card numbers made at run time: none stands in a file."""

from __future__ import annotations

import random

_CHANCE = random.SystemRandom()


def card_number(prefix: str = "4", length: int = 16) -> str:
    """A number that passes the Luhn check."""
    body = prefix + "".join(str(_CHANCE.randrange(10)) for _ in range(length - len(prefix) - 1))
    return body + check_digit(body)


def check_digit(body: str) -> str:
    """The digit that makes the sum of these right."""
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return str(-total % 10)

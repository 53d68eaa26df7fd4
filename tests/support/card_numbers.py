"""Generate card numbers at run time, so that no file contains one."""

from __future__ import annotations

import random

_CHANCE = random.SystemRandom()


def card_number(prefix: str = "4", length: int = 16) -> str:
    """Return a number that passes the Luhn check."""
    body = prefix + "".join(str(_CHANCE.randrange(10)) for _ in range(length - len(prefix) - 1))
    return body + check_digit(body)


def check_digit(body: str) -> str:
    """Return the Luhn check digit for these digits."""
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return str(-total % 10)

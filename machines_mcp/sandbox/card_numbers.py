"""Random card numbers from a test range, valid by the Luhn check."""

from __future__ import annotations

import secrets
from typing import Final

TEST_BIN: Final = "400000"
LENGTH: Final = 16


def new_number() -> str:
    """Return a new 16-digit card number."""
    body = TEST_BIN + "".join(str(secrets.randbelow(10)) for _ in range(LENGTH - len(TEST_BIN) - 1))
    return body + _check_digit(body)


def new_cvc() -> str:
    """Return a new 3-digit CVC."""
    return f"{secrets.randbelow(1000):03d}"


def _check_digit(body: str) -> str:
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body))]
    return str(-sum(value - 9 if value > 9 else value for value in doubled) % 10)

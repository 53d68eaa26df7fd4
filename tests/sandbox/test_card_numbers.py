"""Card numbers are in the test range, valid and practically unique."""

from __future__ import annotations

import secrets
from random import Random

import pytest

from machines_mcp.sandbox.card_numbers import TEST_BIN, new_cvc, new_number


def luhn_sum(digits: str) -> int:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled)


def test_every_number_is_in_the_test_range_and_passes_the_luhn_check(monkeypatch: pytest.MonkeyPatch) -> None:
    # A fixed sequence of digits. Among two thousand random numbers, two are equal once in 500 runs.
    monkeypatch.setattr(secrets, "randbelow", Random(1).randrange)  # noqa: S311 - no secret is made of it
    numbers = [new_number() for _ in range(2000)]
    assert all(len(number) == 16 and number.startswith(TEST_BIN) for number in numbers)
    assert all(luhn_sum(number) % 10 == 0 for number in numbers)
    assert len(set(numbers)) == 2000
    assert {number[-1] for number in numbers} == set("0123456789")


def test_cvc_keeps_its_leading_zeros() -> None:
    codes = {new_cvc() for _ in range(5000)}
    assert all(len(code) == 3 and code.isdecimal() for code in codes)
    assert any(code.startswith("0") for code in codes)

"""Prices, checked against values computed by hand: rounding never favors the user."""

from __future__ import annotations

import pytest

from machines_mcp.sandbox.prices import in_cents, in_units, worth


@pytest.mark.parametrize(
    ("ticker", "amount", "exchanged", "cents"),
    [("rusd", 12.34, False, 1234), ("rusd", 0.019, False, 1), ("hbar", 1000, True, 14_850), ("btc", 1e-8, True, 0)],
)
def test_amount_converts_to_cents_rounded_down(ticker: str, amount: float, exchanged: bool, cents: int) -> None:
    assert in_cents(ticker, amount, exchanged=exchanged) == cents


@pytest.mark.parametrize(
    ("ticker", "cents", "exchanged", "units"),
    [("rusd", 1234, False, 12.34), ("hbar", 100, True, 6.6), ("eth", 100, True, 0.00033), ("xrp", 1, True, 0.00495)],
)
def test_cents_convert_to_units_rounded_down(ticker: str, cents: int, exchanged: bool, units: float) -> None:
    assert in_units(ticker, cents, exchanged=exchanged) == units


@pytest.mark.parametrize(
    ("ticker", "cents", "units"), [("rusd", 100, 1.0), ("btc", 500, 0.00005556), ("sol", 1, 0.00006667)]
)
def test_minimum_is_worth_at_least_its_cents(ticker: str, cents: int, units: float) -> None:
    assert worth(ticker, cents) == units
    assert in_cents(ticker, units, exchanged=False) >= cents

"""Fixed prices, so that a quote can be computed by hand and is the same in every run."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Final

# US dollars per unit.
_PRICES: Final = {
    "rusd": Decimal(1),
    "usdc": Decimal(1),
    "usdt": Decimal(1),
    "eth": Decimal(3000),
    "btc": Decimal(90000),
    "sol": Decimal(150),
    "pol": Decimal("0.20"),
    "hbar": Decimal("0.15"),
    "xrp": Decimal(2),
    "xlm": Decimal("0.25"),
}
# The exchange's fee if the assets differ.
_EXCHANGE_FEE: Final = Decimal("0.01")


def in_cents(ticker: str, amount: float, *, exchanged: bool) -> int:
    """Convert `amount` units of `ticker` to whole cents after the fee, rounded down."""
    return int(_after_fee(Decimal(str(amount)) * _PRICES[ticker], exchanged) * 100)


def in_units(ticker: str, cents: int, *, exchanged: bool) -> float:
    """Convert `cents` to units of `ticker` after the fee, rounded down to 8 decimals."""
    units = _after_fee(Decimal(cents) / 100, exchanged) / _PRICES[ticker]
    return float(units.quantize(Decimal("1e-8"), rounding=ROUND_DOWN))


def worth(ticker: str, cents: int) -> float:
    """Return the units worth at least `cents`, rounded up to 8 decimals, for bounds."""
    return float((Decimal(cents) / 100 / _PRICES[ticker]).quantize(Decimal("1e-8"), rounding=ROUND_UP))


def _after_fee(dollars: Decimal, exchanged: bool) -> Decimal:
    return dollars * (1 - _EXCHANGE_FEE) if exchanged else dollars

"""Format money, times and text for people."""

from __future__ import annotations

import math

import pytest

from machines_mcp.redaction.display import dollars, iso, moment, plain_amount, utc_day


def test_dollars_from_cents() -> None:
    assert [dollars(cents) for cents in (1, 123450, 0, -150)] == ["$0.01", "$1,234.50", "$0.00", "-$1.50"]
    assert dollars(9_007_199_254_740_993) == "$90,071,992,547,409.93"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (5.5e-05, "0.000055"),
        (39600.0, "39,600"),
        (1234567.5, "1,234,567.5"),
        (1e-18, "0.000000000000000001"),
        (1e21, "1,000,000,000,000,000,000,000"),
        (0.1, "0.1"),
        (100, "100"),
        (0.0, "0"),
        (-1000.25, "-1,000.25"),
    ],
)
def test_amounts_are_plain_decimals(amount: float, shown: str) -> None:
    assert plain_amount(amount) == shown


def test_times_are_in_utc() -> None:
    at = 1_800_000_000.9
    assert (moment(at), iso(at), utc_day(at)) == ("2027-01-15 08:00:00", "2027-01-15T08:00:00Z", "2027-01-15")


@pytest.mark.parametrize("at", [math.nan, math.inf, 1e18, None, "now"])
def test_invalid_time_is_a_question_mark(at: object) -> None:
    assert moment(at) == "?"

"""Format money, times and text for people."""

from __future__ import annotations

import math

import pytest

from machines_mcp.redaction.display import dollars, iso, moment, utc_day


def test_dollars_from_cents() -> None:
    assert [dollars(cents) for cents in (1, 123450, 0, -150)] == ["$0.01", "$1,234.50", "$0.00", "$-1.50"]


def test_times_are_in_utc() -> None:
    at = 1_800_000_000.9
    assert (moment(at), iso(at), utc_day(at)) == ("2027-01-15 08:00:00", "2027-01-15T08:00:00+00:00", "2027-01-15")


@pytest.mark.parametrize("at", [math.nan, math.inf, 1e18, None, "now"])
def test_invalid_time_is_a_question_mark(at: object) -> None:
    assert moment(at) == "?"

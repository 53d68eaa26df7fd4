"""Format values for people: dollars, other amounts, and UTC times."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal


def dollars(cents: int) -> str:
    """Format US cents as dollars: `$1,234.50`."""
    return f"{'-' if cents < 0 else ''}${Decimal(abs(cents)).scaleb(-2):,.2f}"


def plain_amount(amount: float) -> str:
    """Format an amount of any currency in full, without an exponent: `39,600`, `0.000055`."""
    text = f"{Decimal(repr(amount)):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def iso(at: float) -> str:
    """Format epoch seconds as an ISO 8601 time in UTC: `2027-01-31T23:59:59Z`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment(at: object) -> str:
    """Format epoch seconds in UTC, to the second; `?` if they are not a valid time, as in a tampered row."""
    with suppress(ValueError, OverflowError, OSError, TypeError):
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"  # type: ignore[arg-type]
    return "?"


def ago(seconds: float) -> str:
    """Return how long ago something was, in words: `2 minutes ago`."""
    minutes = int(seconds) // 60
    if minutes < 1:
        return "less than a minute ago"
    return f"{minutes} minute{'s' * (minutes != 1)} ago"


def others_waiting(number: int) -> str:
    """Count the waiting calls of users for whom this server does not act."""
    return "1 call of another user waits." if number == 1 else f"{number:,} calls of other users wait."


def not_decidable(others: int, other_policy: int) -> str:
    """Count the waiting calls that can't be decided here: those of other users, and those under another policy."""
    sentences = [others_waiting(others)] if others else []
    if other_policy:
        verb = "1 call waits" if other_policy == 1 else f"{other_policy:,} calls wait"
        sentences.append(f"{verb} under another policy. To decide here, set MACHINES_POLICY as their server has it.")
    return " ".join(sentences)


def others_unresolved(number: int) -> str:
    """Count the unresolved calls of users for whom this server does not act."""
    return (
        "1 call of another user is unresolved." if number == 1 else f"{number:,} calls of other users are unresolved."
    )


def utc_day(at: float) -> str:
    """Format epoch seconds as the UTC day: `2027-01-31`."""
    return moment(at)[:10]

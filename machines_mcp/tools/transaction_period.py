"""The transactions of a period, and totals over them. The Partner API has neither, so both are computed here."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Annotated, TypeAlias

import anyio
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from machines_mcp.protocol.tool import OutputPart, Text

if TYPE_CHECKING:
    from machines_mcp.partner import Transaction, TransactionPage
    from machines_mcp.redaction.verbatim import Identifier

PAGE_ROWS = 100
MAX_PAGES = 10
READ_SECONDS = 20.0
"""A period is read from at most this many pages, and no page is begun after this time."""

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?)?")
_RULE = "must be a date or a time, such as 2026-11-30 or 2026-11-30T09:00:00Z"
# Money that moved or is about to. A declined spend moves none, and other words are not documented.
_COUNTED, _NO_MONEY = ("posted", "pending"), "declined"


def _checked_moment(text: str) -> str:
    if parsed_moment(text, last=False) is None:
        raise PydanticCustomError("machines_rule", _RULE)
    return text


Moment = Annotated[Text, Field(max_length=25), AfterValidator(_checked_moment)]
"""A date or a time of ISO 8601. Without an offset it is in UTC."""


def parsed_moment(text: str, *, last: bool) -> datetime | None:
    """Return the time; of a date its first microsecond or, if `last`, its last one. None if the text is neither."""
    if not _FORM.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        return datetime.combine(found, time.max, UTC) if last and "T" not in text else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class TransactionTotals(OutputPart):
    """Sums of the posted and pending transactions in US dollars, and whether they cover all that was asked for."""

    transactions: int = Field(description="How many were summed")
    spend_cents: int | None = None
    collateral_cents: int | None = Field(default=None, description="Collateral moves")
    payment_cents: int | None = None
    fee_cents: int | None = None
    complete: bool = Field(description="Nothing is missing")


@dataclass(frozen=True, slots=True)
class Period:
    """The times from `start` to `end`, both included. None is without a bound."""

    start: datetime | None
    end: datetime | None

    def holds(self, at: datetime) -> bool:
        """Whether the time is in the period."""
        return (self.start is None or at >= self.start) and (self.end is None or at <= self.end)

    def ended_before(self, rows: Iterable[Transaction]) -> bool:
        """Whether all rows are older than the period, so that later pages are, too."""
        times = [row.created_at for row in rows]
        start = self.start
        return start is not None and bool(times) and all(at is not None and at < start for at in times)


ALL_TIME = Period(None, None)


@dataclass(slots=True)
class PeriodRows:
    """The rows that were found, newest first. `undated`: a row has no time, so it could not be judged."""

    rows: list[Transaction] = field(default_factory=list)
    next_cursor: Identifier | None = None
    unreadable: bool = False
    undated: bool = False


ReadPage: TypeAlias = "Callable[[Identifier | None], Awaitable[TransactionPage]]"


async def read_period(fetch: ReadPage, period: Period, cursor: Identifier | None) -> PeriodRows:
    """Read pages from `cursor` on until the period has begun, at most ten and for 20 s, and return its rows.

    `next_cursor` is None if nothing of the period is left to read.
    """
    found, seen = PeriodRows(next_cursor=cursor), set[str]()
    end = anyio.current_time() + READ_SECONDS
    for _ in range(MAX_PAGES):
        page = await fetch(found.next_cursor)
        # A row that moved to the next page meanwhile must not count twice.
        new = [row for row in page.transactions if row.transaction_id is None or row.transaction_id not in seen]
        seen |= {row.transaction_id for row in new if row.transaction_id is not None}
        found.rows += [row for row in new if row.created_at is not None and period.holds(row.created_at)]
        found.undated |= any(row.created_at is None for row in new)
        found.unreadable = "next_cursor" in page.odd
        found.next_cursor = None if period.ended_before(page.transactions) else page.next_cursor
        if found.next_cursor is None or anyio.current_time() > end:
            break
    return found


def totals_of(rows: Iterable[Transaction], *, complete: bool) -> TransactionTotals:
    """Return the totals of the rows. One that can't be added makes them incomplete."""
    sums: dict[str, int] = {}
    number = 0
    for row in rows:
        if row.status == _NO_MONEY:
            continue
        usable = row.status in _COUNTED and row.currency is not None and row.currency.upper() == "USD"
        if not usable or row.amount_cents is None or f"{row.type}_cents" not in TransactionTotals.model_fields:
            complete = False
            continue
        number += 1
        sums[f"{row.type}_cents"] = sums.get(f"{row.type}_cents", 0) + row.amount_cents
    return TransactionTotals(transactions=number, complete=complete, **sums)

"""Transactions of a period and their totals: bounded reads, nothing counted twice, and whether they are complete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.partner.models.transactions import Transaction, TransactionPage
from machines_mcp.redaction.verbatim import Identifier
from machines_mcp.tools.transaction_period import (
    MAX_PAGES,
    Period,
    PeriodRows,
    parsed_moment,
    read_period,
    totals_of,
)
from tests.support.tool_caller import caller
from tests.tools.test_withdrawals import funded

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def row(number: int, at: datetime | None = NOON, **values: Any) -> Transaction:
    return Transaction.model_validate(
        {
            "transactionId": f"txn-{number:08}", "type": "spend", "status": "posted", "amountCents": 100,
            "currency": "USD", "createdAt": at and at.isoformat(),
        } | values
    )  # fmt: skip


class Pages:
    """Pages of rows by cursor, and the cursors that were read."""

    def __init__(self, *pages: list[Transaction], endless: bool = False) -> None:
        self.pages = pages
        self.endless = endless
        self.read: list[str | None] = []

    async def fetch(self, cursor: Identifier | None) -> TransactionPage:
        self.read.append(cursor)
        number = int(cursor or 0)
        more = self.endless or number + 1 < len(self.pages)
        rows = self.pages[min(number, len(self.pages) - 1)]
        sent = [one.model_dump(mode="json", by_alias=True) for one in rows]
        return TransactionPage.model_validate({"transactions": sent, "nextCursor": str(number + 1) if more else None})


def found_in(pages: Pages, period: Period, cursor: Identifier | None = None) -> PeriodRows:
    async def read() -> PeriodRows:
        return await read_period(pages.fetch, period, cursor)

    return anyio.run(read)


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(0, 60), st.integers(0, 60), st.integers(1, 8))
def test_a_period_finds_exactly_its_rows_whatever_the_pages(hours: list[int], first: int, last: int, size: int) -> None:
    rows = [row(n, NOON + timedelta(hours=at)) for n, at in enumerate(sorted(hours, reverse=True))]
    pages = Pages(*([rows[at : at + size] for at in range(0, len(rows), size)] or [[]]))
    period = Period(NOON + timedelta(hours=first), NOON + timedelta(hours=last))
    found = found_in(pages, period)
    within = [one for one in rows if one.created_at is not None and period.holds(one.created_at)]
    if found.next_cursor is None:
        assert found.rows == within
    else:
        # It stopped at its bound, says so, and what it found is a part.
        assert len(pages.read) == MAX_PAGES
        assert found.rows == within[: len(found.rows)]


def test_reading_stops_when_the_period_has_begun() -> None:
    old = NOON - timedelta(days=9)
    pages = Pages([row(1), row(2, old)], [row(3, old)], [row(4, old)])
    found = found_in(pages, Period(NOON - timedelta(days=1), None))
    assert ([one.transaction_id for one in found.rows], found.next_cursor) == (["txn-00000001"], None)
    assert pages.read == [None, "1"]


def test_endless_pages_are_read_ten_times_and_reported_as_unfinished() -> None:
    pages = Pages([row(1)], endless=True)
    found = found_in(pages, Period(NOON, None))
    assert (len(pages.read), found.next_cursor) == (MAX_PAGES, str(MAX_PAGES))
    # The same row on each page counts once.
    assert len(found.rows) == 1


def test_a_row_without_a_time_is_in_no_period_and_is_reported() -> None:
    found = found_in(Pages([row(1), row(2, None)]), Period(NOON, NOON))
    assert ([one.transaction_id for one in found.rows], found.undated) == (["txn-00000001"], True)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-11-20", "2026-11-20T00:00:00+00:00", "2026-11-20T23:59:59.999999+00:00"),
        ("2026-11-20T09:30", "2026-11-20T09:30:00+00:00", "2026-11-20T09:30:00+00:00"),
        ("2026-11-20T09:30:05Z", "2026-11-20T09:30:05+00:00", "2026-11-20T09:30:05+00:00"),
        ("2026-11-20T01:30:00+02:00", "2026-11-19T23:30:00+00:00", "2026-11-19T23:30:00+00:00"),
    ],
)
def test_dates_are_whole_days_and_times_are_in_utc(text: str, first: str, last: str) -> None:
    start, end = parsed_moment(text, last=False), parsed_moment(text, last=True)
    assert start is not None and end is not None
    assert (start.isoformat(), end.isoformat()) == (first, last)


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2026-13-01",
        "2026-02-30",
        "20261120",
        "2026-W47",
        "2026-11-20T25:00",
        "2026-11-20 09:30",
        "٢٠٢٦-11-20",
    ],
)
def test_other_texts_are_no_time(text: str) -> None:
    assert parsed_moment(text, last=False) is None


def test_totals_add_posted_and_pending_dollars_by_type() -> None:
    rows = [row(1), row(2, status="pending"), row(3, type="fee", amountCents=7), row(4, status="declined")]
    totals = totals_of(rows, complete=True)
    assert totals.model_dump(exclude_none=True) == {
        "transactions": 3, "spend_cents": 200, "fee_cents": 7, "complete": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "odd", [{"currency": "EUR"}, {"currency": None}, {"amountCents": None}, {"status": "settling"}, {"type": "gift"}]
)
def test_a_row_that_can_not_be_added_makes_the_totals_incomplete(odd: dict[str, Any]) -> None:
    totals = totals_of([row(1), row(2, **odd)], complete=True)
    assert (totals.transactions, totals.spend_cents, totals.complete) == (1, 100, False)


@pytest.mark.anyio
async def test_list_transactions_filters_and_adds(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        card = (await c.call("create_card"))["card_id"]
        for cents in (100, 200, 300):
            await c.control("/spend", cardId=card, amountCents=cents)
        newest = (await c.call("list_transactions", types=["spend"], limit=1))["transactions"][0]["created_at"]
        day = newest[:10]
        found = await c.call("list_transactions", **{"from": day}, types=["spend"], limit=1)
        assert [t["amount_cents"] for t in found["transactions"]] == [300]
        assert (found["not_listed"], found["totals"]) == (
            2, {"transactions": 3, "spend_cents": 600, "complete": True},
        )  # fmt: skip
        step = found["next_steps"][0]
        assert step["arguments"] == {"from": day, "types": ["spend"], "limit": 100}
        assert len((await c.call(step["tool"], **step["arguments"]))["transactions"]) == 3
        none = await c.call("list_transactions", to="2020-01-01")
        assert (none["transactions"], none["totals"]) == ([], {"transactions": 0, "complete": True})
        page = await c.call("list_transactions", types=["spend"], limit=2)
        assert page["totals"] == {"transactions": 2, "spend_cents": 500, "complete": False}
        rest = await c.call("list_transactions", types=["spend"], limit=2, cursor=page["next_cursor"])
        assert rest["totals"] == {"transactions": 1, "spend_cents": 100, "complete": False}


@pytest.mark.anyio
async def test_bounds_that_are_no_times_or_the_wrong_way_round_are_refused_by_name(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        refused = await c.call("list_transactions", **{"from": "2026-11-02", "to": "2026-11-01"})
        assert refused["fields"] == [{"field": "from", "rule": "must not be after to"}]
        refused = await c.call("list_transactions", to="next week")
        assert refused["fields"][0]["field"] == "to"
        assert "2026-11-30" in refused["fields"][0]["rule"]

"""Test the audit page: filters, pagination, descriptions and the chart."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from machines_mcp.desk.audit_page import KINDS
from machines_mcp.desk.audit_story import calls
from machines_mcp.desk.spend_chart import build_chart
from machines_mcp.permissions.authorizer import Verdict
from machines_mcp.permissions.daily_totals import DailyTotal
from machines_mcp.permissions.policy import Limits, default_policy
from machines_mcp.permissions.usage import DAY_SECONDS
from machines_mcp.storage.audit_log import AuditEntry, AuditRow, Kind
from tests.support.clock import Clock
from tests.support.running_desk import FakeBrowser, RunningDesk, browser, running_desk, withdrawal

pytestmark = pytest.mark.anyio


def numbers(page: str) -> list[int]:
    """Return the row numbers on the page."""
    return [int(number) for number in re.findall(r"<small>#(\d+)</small>", page)]


async def filled(desk: RunningDesk) -> None:
    """A desk with audit rows 1 to 5 over two days, after the row for setting the passphrase."""
    audit = desk.guard.audit
    await audit.append(AuditEntry("call", tool="get_balances", action_class="read", user_id="user-1", code="ok"))
    await audit.append(
        AuditEntry("call", tool="close_card", action_class="destroy", user_id="user-2", code="policy.denied")
    )
    desk.clock.advance(DAY_SECONDS)
    await audit.append(AuditEntry("alarm", code="output_filter.exact"))
    await audit.append(AuditEntry("call", tool="get_balances", action_class="read", user_id="user-2", code="ok"))


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("", [3, 2]),
        ("?everything=1", [4, 3, 2, 1]),
        ("?tool=get_balances", [4, 1]),
        ("?kind=alarm", [3]),
        ("?user=user-2", [2]),
        ("?day=2027-01-15", [2]),
        ("?day=2027-01-16", [3]),
        ("?day=2027-01-17", []),
        ("?before=3", [2]),
        ("?before=3&everything=1", [2, 1]),
        ("?user=user-2&tool=close_card&kind=call&day=2027-01-15", [2]),
        ("?user=nobody", []),
        ("?tool=%27+OR+1+--", []),
        ("?before=zzz&kind=nonsense", [3, 2]),
    ],
)
async def test_rows_are_filtered_by_tool_kind_user_and_day(simulated: RunningDesk, query: str, rows: list[int]) -> None:
    await filled(simulated)
    async with browser(simulated) as person:
        page = (await person.get(f"/audit{query}")).text
        assert numbers(page) == rows
        if rows == []:
            assert "match this filter" in page


async def test_an_invalid_day_is_reported_and_matches_no_rows(person: FakeBrowser) -> None:
    for day in ("2027-02-30", "yesterday", "20270115", "2027-W01-1"):
        answer = await person.get(f"/audit?day={day}")
        assert answer.status_code == 422 and "Enter a valid day" in answer.text
        assert numbers(answer.text) == []


async def test_pagination_keeps_the_filter(simulated: RunningDesk) -> None:
    for number in range(120):
        await simulated.guard.audit.append(
            AuditEntry("call", tool="get_card", action_class="read", user_id=f"user-{number % 2}")
        )
    async with browser(simulated) as person:
        seen: list[int] = []
        path = "/audit?user=user-1&everything=1"
        for _ in range(3):
            page = (await person.get(path)).text
            seen += numbers(page)
            older = re.search(r'href="([^"]+)">Older<', page)
            if older is None:
                break
            path = older[1].removeprefix(person.base).replace("&amp;", "&")
        assert seen == list(range(120, 0, -2))
        assert f'href="{person.base}/audit?user=user-1&amp;everything=1">Newest<' in page


async def test_rows_are_described_in_words(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    await desk.guard.approvals.grant(approval.id, "terminal")
    await desk.guard.approvals.consume(approval)
    await desk.guard.approvals.finish(approval.id, '{"code": "partner.rejected"}', ok=False, code="partner.rejected")
    await filled(desk)
    page = (await person.get("/audit?everything=1")).text
    for words in (
        "Approval requested",
        "Approved",
        "in a terminal",
        "Started",
        "Failed",
        "partner.rejected",
        "Not done",
        "policy.denied",
        "Alarm",
        "output_filter.exact",
        "Read",
        "$120.50",
        f'href="{person.base}/decisions/{approval.id}"',
    ):
        assert words in page, words


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("waiting", "Waiting for approval"),
        ("repeat", "Outcome repeated"),
        ("running", "Still running"),
        ("later", "Outcome not known yet"),
        ("interrupted", "Outcome not known yet"),
        ("needs_person", "A person must resolve it"),
    ],
)
async def test_a_call_that_waits_or_may_have_run_is_not_described_as_not_done(
    desk: RunningDesk, person: FakeBrowser, verdict: Verdict, words: str
) -> None:
    await desk.guard.audit.append(AuditEntry("call", tool="create_card", action_class="money", code=verdict))
    page = (await person.get("/audit")).text
    assert f'<span class="state ">{words}</span>' in page and "Not done" not in page


async def test_corrupted_rows_are_still_displayed(simulated: RunningDesk) -> None:
    await filled(simulated)
    spoil = "UPDATE audit SET tool = CAST(x'ff3c' AS TEXT), at = 1e300, verdict = '<b>', decided_by = 'x' WHERE seq = 2"
    await simulated.guard.store.run(lambda db: db.execute(spoil))
    async with browser(simulated) as person:
        answer = await person.get("/audit")
    assert answer.status_code == 200
    assert "<b>" not in answer.text and "?</time>" in answer.text


async def test_the_chart_and_its_table_show_withdrawals_and_the_limit(tmp_path: Path) -> None:
    policy = replace(default_policy("embedded", read_only=False), limits=Limits(per_day_cents=20_000))
    async with running_desk(tmp_path / "state", "embedded", policy=policy) as desk, browser(desk) as person:
        for cents in (15_000, 5_000):
            approval = await desk.ask(details=withdrawal(cents), digest=str(cents))
            if cents == 15_000:
                await desk.guard.approvals.grant(approval.id, "desk")
                await desk.guard.approvals.consume(approval)
        page = (await person.get("/audit")).text
        assert "$200.00 of $200.00 used today" in page
        assert page.count("daily limit: $200.00") == 2
        row = re.search(r'<tr><th scope="row">15 Jan 2027</th>(.*?)</tr>', page, re.DOTALL)
        assert row is not None
        assert re.findall(r">([^<\n]+)<", row[1]) == ["$150.00", "$50.00", "100 %"]
        assert page.count('class="paid"') == page.count('class="open"') == 2


def test_chart_bars_share_a_baseline_and_scale_and_fit_the_picture() -> None:
    spent = [DailyTotal(n * DAY_SECONDS, cents, 50 if n == 2 else 0) for n, cents in enumerate((0, 400, 100))]
    drawn = build_chart(spent, 250, width=300, height=200)
    nothing, most, today = drawn.bars
    assert (nothing.height, most.over, today.over, today.label) == (0, True, False, "Today")
    assert most.height == pytest.approx(4 * today.height, abs=0.2)
    assert today.pending_height == pytest.approx(today.height / 2, abs=0.2)
    assert {round(bar.y + bar.height) for bar in drawn.bars} == {round(drawn.floor)}
    assert drawn.cap_y is not None and most.y < drawn.cap_y < today.pending_y
    assert all(bar.x >= 0 and bar.x + bar.width <= 300 and bar.pending_y > 0 for bar in drawn.bars)


@pytest.mark.parametrize("cap", [None, 0, 1, 10**9])
def test_an_empty_chart_is_drawn(cap: int | None) -> None:
    drawn = build_chart([DailyTotal(n * DAY_SECONDS, 0) for n in range(14)], cap, width=720, height=220)
    assert len(drawn.bars) == 14 and all(bar.height == 0 for bar in drawn.bars)
    assert (drawn.cap_y is None) is (cap is None)


def test_the_test_clock_starts_on_the_expected_day() -> None:
    assert Clock().now // DAY_SECONDS == 20_833  # 15 January 2027


async def test_a_call_is_one_row_with_its_steps_and_reads_are_folded(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    await desk.guard.audit.append(AuditEntry("call", tool="get_card", action_class="read", user_id="user-1", code="ok"))
    await desk.guard.approvals.grant(approval.id, "terminal")
    await desk.guard.approvals.consume(approval)
    for entry in (
        AuditEntry("call", tool="update_card", action_class="write", user_id="user-9", verdict="executing"),
        AuditEntry("outcome", tool="update_card", action_class="write", user_id="user-9", code="ok"),
    ):
        await desk.guard.audit.append(entry)
    await desk.guard.approvals.finish(approval.id, "{}", ok=True, code="ok")
    page = (await person.get("/audit")).text
    table = page[page.index("<tbody role=") :]
    first, second, *_ = table.split('<tr role="row">')[1:]
    assert "Withdrawal" in first and "Done" in first and "$120.50" in first
    steps = re.findall(r"</time> ([A-Z][a-z ]+)", first.split('<ul class="steps">')[1])
    assert [step.split(" in ")[0].strip() for step in steps] == ["Approval requested", "Approved", "Started", "Done"]
    assert "Change of a card" in second and "Done" in second
    assert "get_card" not in table
    assert "<code>create_withdrawal</code>" in first.split("<details>")[1]
    assert "create_withdrawal" not in first.split("<details>")[0]


async def test_a_call_over_two_pages_is_on_the_page_of_its_newest_row(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    for _ in range(60):
        await desk.guard.audit.append(AuditEntry("alarm", code="output_filter.exact"))
    await desk.guard.approvals.grant(approval.id, "terminal")
    newest = (await person.get("/audit")).text
    older = re.search(r'href="([^"]+)">Older<', newest)
    assert older is not None and "Approval requested" in newest and newest.count('<tr role="row">') == 51
    rest = (await person.get(older[1].removeprefix(person.base).replace("&amp;", "&"))).text
    assert "Withdrawal<" not in rest[rest.index("<tbody role=") :]


@pytest.mark.parametrize(("verdict", "code", "sink", "words", "tone"), [
    ("verified", "verified", "none", "Card verified, shown nowhere", ""),
    ("shown", "shown", "page", "Card shown", "good"),
    ("shown", "shown", "none", "Failed", "bad"),
    ("sealed", "sealed", "sealed", "Card encrypted to the operator's key", ""),
    ("failed", "page.unused", "page", "Page not opened", ""),
    ("failed", "page.left", "page", "Page closed before the card was shown", ""),
    ("failed", "page.refused", "page", "Refused", "bad"),
    ("failed", "page.withdrawn", "page", "Withdrawn", ""),
    ("failed", "partner.unavailable", "none", "Failed", "bad"),
])  # fmt: skip
def test_a_reveal_says_what_a_person_saw(verdict: str, code: str, sink: str, words: str, tone: str) -> None:
    rows = [
        _row(1, "call", verdict="executing", action_class="read", sink=sink),
        _row(2, "reveal", verdict=verdict, code=code, sink=sink),
        _row(3, "outcome", code="ok" if verdict != "failed" else "reveal.failed"),
    ]
    (call,) = calls(rows, {})
    assert (call.told.event, call.told.tone, call.what) == (words, tone, "Card number")


def _row(seq: int, kind: str, **values: object) -> AuditRow:
    names = ("tool", "action_class", "user_id", "approval_id", "verdict", "code", "by", "sink", "card_id")
    given = dict.fromkeys(names) | {"tool": "reveal_card", "user_id": "user-1"} | values
    return AuditRow(seq, float(seq), kind, **given, amount_cents=None, policy="p")


def test_every_kind_of_row_can_be_filtered() -> None:
    assert set(KINDS) == set(get_args(Kind))


async def test_times_are_utc_without_the_script_and_the_policy_names_it(desk: RunningDesk, person: FakeBrowser) -> None:
    await filled(desk)
    answer = await person.get("/audit")
    stamped = re.findall(r'<time datetime="([^"]+)">([^<]+)</time>', answer.text)
    assert stamped and all(iso.startswith(text.replace(" ", "T")) for iso, text in stamped)
    script = answer.text.split("<script>")[-1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]


def test_the_charts_scale_begins_at_nothing_and_ends_at_the_top() -> None:
    drawn = build_chart([DailyTotal(0, 400)], 45_000, width=300, height=200)
    assert [cents for _, cents in drawn.ticks] == [0, 12_500, 25_000, 37_500, 50_000]
    assert drawn.ticks[0][0] == drawn.floor and drawn.cap_y is not None
    assert drawn.ticks[-1][0] < drawn.cap_y < drawn.ticks[-2][0]


async def test_a_withdrawn_request_is_told_in_a_neutral_tone(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    await desk.guard.approvals.refusals.withdraw(approval.id)
    table = (page := (await person.get("/audit")).text)[page.index("<tbody role=") :]
    row = table.split('<tr role="row">')[1]
    assert '<span class="state ">Withdrawn</span>' in row
    assert "by the assistant" in row and "Refused" not in row

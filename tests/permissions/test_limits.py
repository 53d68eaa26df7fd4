"""Limits over a database driven as the intents drive it: by rows, with a clock of the test's own."""

from __future__ import annotations

import itertools
import json
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.limits import CLOCK_SET_BACK, DAY_SECONDS, budgets, exceeded_limit
from machines_mcp.permissions.policy import Limits, Policy, Rule
from machines_mcp.storage.database import Store
from machines_mcp.storage.withdrawals import Destination
from tests.support.waiting import PATIENCE

NOON = 1_800_014_400.0
ASK = dict.fromkeys(ActionClass, Rule.ASK)
HOME = Destination("USDC", "base", "0x" + "aB" * 20)


def _database() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    folder = resources.files("machines_mcp.storage").joinpath("migrations")
    for file in sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name):
        db.executescript(file.read_text(encoding="utf-8"))
    return db


@contextmanager
def _rolled_back_on(broken: type[Exception], db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN")
    try:
        with suppress(broken):
            yield
            db.execute("COMMIT")
            return
        db.execute("ROLLBACK")
    except BaseException:
        db.execute("ROLLBACK")
        raise


class OverLimit(Exception):
    """What the intents raise inside their transaction."""


@dataclass
class Book:
    """Opens, decides and runs intents as `Intents` does, with `refusal` at the same two places."""

    limits: Limits
    rules: dict[ActionClass, Rule] = field(default_factory=lambda: ASK)
    now: float = NOON
    db: sqlite3.Connection = field(default_factory=_database)
    ids: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        # From Python 3.13 on an open connection that nobody holds is warned of.
        weakref.finalize(self, self.db.close)

    def policy(self) -> Policy:
        return Policy(self.rules, limits=self.limits, sinks=frozenset({"page"}))

    def judge(self, call_request: CallRequest, details: ApprovalDetails, own: str | None = None) -> str | None:
        return exceeded_limit(self.db, self.policy(), call_request, details, self.now, own)

    def open(
        self, details: ApprovalDetails, user: str = "user-1", action_class: ActionClass = ActionClass.MONEY
    ) -> str:
        """The new intent's id, or the path of the limit that stands against it, which has a dot in it."""
        call_request = CallRequest("tool", action_class, user, "digest")
        broken = self.judge(call_request, details)
        if broken is not None:
            return broken
        name = f"approval-{next(self.ids)}"
        self.db.execute(
            "INSERT INTO approvals (id, tool, action_class, user_id, digest, question, state, created_at, expires_at,"
            " details, amount_cents, card_id) VALUES (?, 'tool', ?, ?, 'digest', '', 'waiting', ?, ?, ?, ?, ?)",
            (
                name,
                action_class,
                user,
                self.now,
                self.now + 900,
                details.as_json(),
                details.amount_cents,
                details.card_id,
            ),
        )
        return name

    def move(self, name: str, to: str, come_from: str, outcome: str | None = None) -> None:
        self.db.execute(
            "UPDATE approvals SET state = ?, outcome = ?, decided_at = ?, expires_at = expires_at + 300"
            " WHERE id = ? AND state = ? AND expires_at > ?",
            (to, outcome, self.now, name, come_from, self.now),
        )

    def end(self, name: str, to: str, code: str | None = None) -> None:
        outcome = None if code is None else json.dumps({"code": code})
        self.db.execute(
            "UPDATE approvals SET state = ?, outcome = ? WHERE id = ? AND state = 'executing'", (to, outcome, name)
        )

    def consume(self, name: str) -> str | None:
        """None where it runs, else what stands against it."""
        found: list[str] = []
        with _rolled_back_on(OverLimit, self.db):
            moved = self.db.execute(
                "UPDATE approvals SET state = 'executing', started_at = ?"
                " WHERE id = ? AND state = 'granted' AND expires_at > ?",
                (self.now, name, self.now),
            ).rowcount
            if not moved:
                found.append("gone")
                raise OverLimit
            row = self.db.execute("SELECT * FROM approvals WHERE id = ?", (name,)).fetchone()
            call_request = CallRequest(row["tool"], ActionClass(row["action_class"]), row["user_id"], row["digest"])
            broken = self.judge(call_request, ApprovalDetails.from_json(row["details"]), own=name)
            if broken is not None:
                found.append(broken)
                raise OverLimit
        return found[0] if found else None

    def run(
        self, details: ApprovalDetails, user: str = "user-1", action_class: ActionClass = ActionClass.MONEY
    ) -> str | None:
        """All the way: opened, granted, consumed, done; else what stood against it."""
        name = self.open(details, user, action_class)
        if "." in name:
            return name
        self.move(name, "granted", "waiting")
        broken = self.consume(name)
        self.end(name, "done")
        return broken

    def audited(self, action_class: ActionClass, verdict: str | None = "executing") -> None:
        self.db.execute(
            "INSERT INTO audit (at, kind, action_class, verdict, policy, mac) VALUES (?, 'call', ?, ?, '', x'')",
            (self.now, action_class, verdict),
        )


def _out(cents: int, to: Destination | None = HOME) -> ApprovalDetails:
    return ApprovalDetails("?", amount_cents=cents, destination=to)


def _card(cents: int | None = None, period: str | None = None) -> ApprovalDetails:
    return ApprovalDetails("?", limits_card=True, limit_cents=cents, limit_frequency=period)


# Cards


@pytest.mark.parametrize(
    ("limits", "details", "broken"),
    [
        (Limits(), _card(), "cards.unbounded"),
        (Limits(), _card(100, "perAuthorization"), "cards.unbounded"),
        (Limits(unbounded_cards=True), _card(), None),
        (Limits(unbounded_cards=True), _card(100, "perAuthorization"), None),
        (Limits(), _card(10**8, "per7DayPeriod"), None),
        (Limits(max_limit_cents={"per7DayPeriod": 500}), _card(500, "per7DayPeriod"), None),
        (
            Limits(max_limit_cents={"per7DayPeriod": 500}),
            _card(501, "per7DayPeriod"),
            "cards.max_limit_cents.per7DayPeriod",
        ),
        (Limits(max_limit_cents={"per7DayPeriod": 500}), _card(1, "allTime"), "cards.max_limit_cents.allTime"),
        (Limits(max_limit_cents={}), _card(1, "allTime"), "cards.max_limit_cents.allTime"),
        (Limits(max_limit_cents={"per7DayPeriod": 500}), _card(), "cards.unbounded"),
        (Limits(True, {"perAuthorization": 5}), _card(5, "perAuthorization"), None),
        (Limits(True, {"perAuthorization": 5}), _card(6, "perAuthorization"), "cards.max_limit_cents.perAuthorization"),
        (Limits(max_limit_cents={}), ApprovalDetails("Lock it?", card_id="card-1"), None),
    ],
)
def test_card_has_a_limit_within_its_periods_cap(limits: Limits, details: ApprovalDetails, broken: str | None) -> None:
    assert Book(limits).run(details) == broken


# Withdrawals


def test_single_withdrawal_respects_the_per_call_limit() -> None:
    book = Book(Limits(per_call_cents=100))
    assert book.run(_out(101)) == "withdrawals.per_call_cents"
    assert book.run(_out(100)) is None


def test_daily_withdrawals_of_all_users_share_a_cap() -> None:
    book = Book(Limits(per_day_cents=100))
    assert book.run(_out(60), "ann") is None
    assert book.run(_out(41), "bob") == "withdrawals.per_day_cents"
    assert book.run(_out(40), "bob") is None
    book.now += DAY_SECONDS / 2
    assert book.run(_out(100)) is None


def test_each_user_has_a_daily_cap() -> None:
    book = Book(Limits(per_user_day_cents=100))
    assert book.run(_out(100), "ann") is None
    assert book.run(_out(1), "ann") == "withdrawals.per_user_day_cents"
    assert book.run(_out(100), "bob") is None


def test_waiting_approval_counts_until_rejected_or_expired() -> None:
    book = Book(Limits(per_day_cents=100))
    waiting = book.open(_out(100))
    assert book.open(_out(1)) == "withdrawals.per_day_cents"
    book.move(waiting, "refused", "waiting")
    waiting = book.open(_out(100))
    book.now += 900
    assert book.run(_out(100)) is None
    book.move(waiting, "granted", "waiting")
    assert book.consume(waiting) == "gone"


@pytest.mark.parametrize(("code", "counts"), [("kyc.not_approved", False), ("outcome.unknown", True), (None, True)])
def test_failed_call_counts_only_while_its_outcome_is_unknown(code: str | None, counts: bool) -> None:
    book = Book(Limits(per_day_cents=100))
    tried = book.open(_out(100))
    book.move(tried, "granted", "waiting")
    assert book.consume(tried) is None
    book.end(tried, "failed", code)
    assert (book.open(_out(1)) == "withdrawals.per_day_cents") is counts


def test_grant_from_before_midnight_counts_on_the_day_of_use() -> None:
    book = Book(Limits(per_day_cents=100), now=NOON + DAY_SECONDS / 2 - 60)
    asked = book.open(_out(100))
    book.move(asked, "granted", "waiting")
    book.now += 120
    assert book.consume(asked) is None
    assert book.open(_out(1)) == "withdrawals.per_day_cents"


def test_grant_over_the_limit_is_not_used() -> None:
    book = Book(Limits(per_day_cents=100))
    asked = book.open(_out(60))
    book.move(asked, "granted", "waiting")
    book.limits = Limits(per_day_cents=50)
    assert book.consume(asked) == "withdrawals.per_day_cents"
    assert book.db.execute("SELECT state FROM approvals").fetchone()[0] == "granted"


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        (HOME, True),
        (Destination("USDC", "base", "0x" + "Ab" * 20), True),
        (Destination("usdc", "Base", HOME.address), True),
        (Destination("USDC", "base", "0x" + "ac" * 20), False),
        (Destination("USDC", "polygon", HOME.address), False),
        (Destination("USDT", "base", HOME.address), False),
        (Destination("USDC", "base", HOME.address, "memo"), False),
        (Destination("XRP", "xrp", "rAbc", "12"), True),
        (Destination("XRP", "xrp", "rABC", "12"), False),
        (Destination("XRP", "xrp", "rAbc"), False),
        (None, False),
    ],
)
def test_money_goes_only_to_exactly_listed_destinations(wanted: Destination | None, there: bool) -> None:
    book = Book(Limits(destinations=frozenset({HOME, Destination("XRP", "xrp", "rAbc", "12")})))
    assert book.run(_out(1, wanted)) == (None if there else "withdrawals.destinations")


def test_empty_destination_list_blocks_every_withdrawal() -> None:
    assert Book(Limits(destinations=frozenset())).run(_out(1)) == "withdrawals.destinations"


# Rates


def test_approval_requests_are_limited_per_minute() -> None:
    book = Book(Limits(asks_per_minute=2))
    names = [book.open(_card(1, "allTime")) for _ in range(3)]
    assert names[2] == "rates.asks_per_minute"
    book.move(names[0], "granted", "waiting")
    assert book.consume(names[0]) is None, "an existing approval must not count again"
    book.now += 60
    assert "." not in book.open(_card(1, "allTime"))


def test_allowed_calls_do_not_count_as_approval_requests() -> None:
    book = Book(Limits(asks_per_minute=1), rules=dict.fromkeys(ActionClass, Rule.ALLOW))
    names = [book.open(_card(1, "allTime")) for _ in range(5)]
    assert not any("." in name for name in names)
    book.db.execute("UPDATE approvals SET decided_by = 'policy'")
    book.rules = ASK
    assert "." not in book.open(_card(1, "allTime"))


def test_changes_are_limited_per_hour_and_reads_are_free() -> None:
    book = Book(Limits(mutations_per_hour=2))
    for action_class in (ActionClass.WRITE, ActionClass.READ, ActionClass.READ, ActionClass.MONEY):
        book.audited(action_class)
    book.audited(ActionClass.MONEY, None)  # rejected or waiting: nothing changed
    write = CallRequest("create_deposit", ActionClass.WRITE, "user-1", "digest")
    assert book.judge(write, ApprovalDetails("?")) == "rates.mutations_per_hour"
    assert book.judge(CallRequest("status", ActionClass.READ, "", "digest"), ApprovalDetails("?")) is None
    book.now += 3600
    assert book.judge(write, ApprovalDetails("?")) is None


def test_reveals_are_limited_per_day() -> None:
    book = Book(Limits(reveals_per_card_per_day=1))
    shown = ApprovalDetails("?", card_id="card-1", sink="page")
    assert book.run(shown, action_class=ActionClass.REVEAL) is None
    assert book.run(shown, action_class=ActionClass.REVEAL) == "rates.reveals_per_card_per_day"
    assert book.run(ApprovalDetails("?", card_id="card-2", sink="page"), action_class=ActionClass.REVEAL) is None
    book.now += DAY_SECONDS
    assert book.run(shown, action_class=ActionClass.REVEAL) is None


def test_unlisted_sink_reveals_nothing() -> None:
    assert Book(Limits()).run(ApprovalDetails("?", sink="model"), action_class=ActionClass.REVEAL) == "reveal.sinks"


# The clock


def test_clock_set_back_over_five_minutes_blocks_all_but_reads() -> None:
    book = Book(Limits(per_day_cents=100))
    assert book.run(_out(100)) is None
    book.now -= 300
    assert book.open(_card(1, "allTime")).startswith("approval")
    book.now -= 1
    for action_class in ActionClass:
        broken = book.judge(CallRequest("tool", action_class, "user-1", "digest"), ApprovalDetails("?"))
        assert broken == (None if action_class is ActionClass.READ else CLOCK_SET_BACK)


def test_audit_rows_also_detect_a_clock_set_back() -> None:
    book = Book(Limits())
    book.audited(ActionClass.READ)
    book.now -= 301
    assert book.open(_card(1, "allTime")) == CLOCK_SET_BACK


# Budgets


def test_budgets_show_the_remainder_of_each_limit() -> None:
    limits = Limits(
        max_limit_cents={"per30DayPeriod": 500},
        per_call_cents=80,
        per_day_cents=100,
        per_user_day_cents=90,
        asks_per_minute=5,
        mutations_per_hour=7,
        reveals_per_card_per_day=3,
    )
    book = Book(limits)
    assert book.run(_out(60), "ann") is None
    book.audited(ActionClass.MONEY)
    assert [(b.limit, b.most, b.left) for b in budgets(book.db, book.policy(), book.now, "bob")] == [
        ("withdrawals.per_call_cents", 80, None),
        ("withdrawals.per_day_cents", 100, 40),
        ("withdrawals.per_user_day_cents", 90, 90),
        ("cards.max_limit_cents.per30DayPeriod", 500, None),
        ("rates.asks_per_minute", 5, 4),
        ("rates.mutations_per_hour", 7, 6),
        ("rates.reveals_per_card_per_day", 3, None),
    ]
    by_user = {b.limit: b.left for b in budgets(book.db, book.policy(), book.now)}
    assert by_user["withdrawals.per_user_day_cents"] is None


def test_without_limits_there_are_no_budgets() -> None:
    book = Book(Limits())
    assert budgets(book.db, book.policy(), book.now) == ()


# Random sequences

CAP, USER_CAP = 100, 70


class AnyOrder(RuleBasedStateMachine):
    """Opens, decisions, executions, endings and a clock that jumps a little back and any way forward."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book(Limits(per_day_cents=CAP, per_user_day_cents=USER_CAP), now=NOON + DAY_SECONDS / 2 - 600)
        self.newest = self.book.now
        self.names: list[str] = []

    def _pick(self, index: int) -> str:
        return self.names[index % len(self.names)] if self.names else "none"

    @rule(cents=st.integers(1, CAP), user=st.sampled_from(["ann", "bob", "cid"]))
    def opens(self, cents: int, user: str) -> None:
        name = self.book.open(_out(cents), user)
        if "." not in name:
            self.names.append(name)

    @rule(index=st.integers(0, 30), to=st.sampled_from(["granted", "granted", "granted", "refused"]))
    def decides(self, index: int, to: str) -> None:
        self.book.move(self._pick(index), to, "waiting")

    @rule(index=st.integers(0, 30))
    def consumes(self, index: int) -> None:
        self.book.consume(self._pick(index))

    @rule(
        index=st.integers(0, 30),
        end=st.sampled_from([("done", None), ("failed", "kyc.not_approved"), ("failed", "outcome.unknown")]),
    )
    def ends(self, index: int, end: tuple[str, str | None]) -> None:
        self.book.end(self._pick(index), *end)

    @rule(index=st.integers(0, 30))
    def gives_back(self, index: int) -> None:
        self.book.end(self._pick(index), "granted")

    @rule(seconds=st.one_of(st.integers(-300, 1800), st.just(DAY_SECONDS // 2)))
    def time_goes_on(self, seconds: int) -> None:
        self.book.now = max(self.book.now + seconds, self.newest - 300)
        self.newest = max(self.newest, self.book.now)

    @invariant()
    def no_day_and_no_user_is_over_the_cap(self) -> None:
        days: dict[tuple[int, str], int] = {}
        rows = self.book.db.execute(
            "SELECT user_id, amount_cents, started_at FROM approvals WHERE state IN ('executing', 'done')"
            " OR (state = 'failed' AND outcome LIKE '%unknown%')"
        )
        for row in rows:
            key = (int(row["started_at"] // DAY_SECONDS), row["user_id"])
            days[key] = days.get(key, 0) + row["amount_cents"]
        assert all(cents <= USER_CAP for cents in days.values())
        for day in {day for day, _ in days}:
            assert sum(cents for (d, _), cents in days.items() if d == day) <= CAP


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# Two servers that share a folder


@pytest.mark.anyio
async def test_concurrent_calls_in_two_servers_stay_within_the_daily_cap(tmp_path: Path) -> None:
    policy = Policy(ASK, limits=Limits(per_day_cents=100, mutations_per_hour=8))
    stores = [Store(tmp_path / "state") for _ in range(2)]
    guards = [build_guard(store, policy) for store in stores]
    opened: list[tuple[Guard, Approval]] = []
    barred: list[str] = []
    begun: list[str] = []

    async def ask(number: int) -> None:
        guard = guards[number % 2]
        call_request = CallRequest("create_withdrawal", ActionClass.MONEY, "user-1", f"digest-{number}")
        try:
            opened.append((guard, await guard.approvals.open(call_request, _out(10))))
        except LimitExceeded as bar:
            barred.append(bar.code)

    async def use(guard: Guard, approval: Approval) -> None:
        assert await guard.approvals.grant(approval.id, "terminal")
        try:
            begun.extend([approval.id] if await guard.approvals.consume(approval) else [])
        except LimitExceeded as bar:
            barred.append(bar.code)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(ask, number)
        assert (len(opened), set(barred)) == (10, {"withdrawals.per_day_cents"})
        barred.clear()
        async with anyio.create_task_group() as tasks:
            for guard, approval in opened:
                tasks.start_soon(use, guard, approval)
        assert (len(begun), barred) == (8, ["rates.mutations_per_hour"] * 2)
        write = CallRequest("create_deposit", ActionClass.WRITE, "user-1", "digest")
        with pytest.raises(LimitExceeded, match=r"rates\.mutations_per_hour"):
            await guards[0].approvals.admit(write)
        for guard in guards:
            await guard.audit.close()
            await guard.store.close()

"""Limits, tested through the approval store with a clock that the test moves."""

from __future__ import annotations

import itertools
import json
import re
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from machines_mcp.permissions import limits, protective
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.approvals import OPEN_SECONDS
from machines_mcp.permissions.budgets import Budget, budgets
from machines_mcp.permissions.clock import CLOCK_SET_BACK
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.limits import UNCOUNTED
from machines_mcp.permissions.policy import Limits, Policy, Rule
from machines_mcp.permissions.usage import DAY_SECONDS
from machines_mcp.storage.audit_log import AuditEntry
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER, Principal
from machines_mcp.storage.withdrawals import Destination
from tests.support.clock import Clock
from tests.support.inline_store import InlineStore, finish
from tests.support.waiting import PATIENCE

LIMIT = re.compile(r'"([a-z]+(?:\.[a-z_]+)+)"')
NOON = 1_800_014_400.0
ASK = dict.fromkeys(ActionClass, Rule.ASK)
HOME = Destination("USDC", "base", "0x" + "aB" * 20)


class Book:
    """A guard with a clock of the test's own. Refused openings and uses return the limit's path."""

    def __init__(self, limits: Limits, *, now: float = NOON) -> None:
        self.clock = Clock(now)
        self.folder = tempfile.TemporaryDirectory()
        self.store = InlineStore(Path(self.folder.name))
        self.policy = Policy(ASK, limits=limits, sinks=frozenset({"page"}))
        self.guard = build_guard(self.store, self.policy, ANY_USER, clock=self.clock)
        self._number = itertools.count()
        self.close = weakref.finalize(self, _end, self.guard, self.store, self.folder)

    def request(self, user: str = "user-1", action_class: ActionClass = ActionClass.MONEY) -> CallRequest:
        """A call unlike any other: equal ones would share an approval, and three refusals of a tool pause it."""
        number = next(self._number)
        return CallRequest(f"tool-{number}", action_class, user, f"digest-{number}")

    def open(
        self, details: ApprovalDetails, user: str = "user-1", action_class: ActionClass = ActionClass.MONEY
    ) -> Approval | str:
        try:
            return finish(self.guard.approvals.open(self.request(user, action_class), details))
        except LimitExceeded as limit:
            return limit.code

    def opened(self, details: ApprovalDetails, user: str = "user-1") -> Approval:
        """An approval that no limit stands against."""
        approval = self.open(details, user)
        assert isinstance(approval, Approval), approval
        return approval

    def grant(self, approval: Approval) -> bool:
        return finish(self.guard.approvals.grant(approval.id, "terminal"))

    def refuse(self, approval: Approval) -> bool:
        return finish(self.guard.approvals.refuse(approval.id, "terminal"))

    def consume(self, approval: Approval) -> str | None:
        """None if the call may run, else what stands against it."""
        try:
            return None if finish(self.guard.approvals.consume(approval)) else "gone"
        except LimitExceeded as limit:
            return limit.code

    def end(self, approval: Approval, code: str) -> None:
        """Store the outcome: `ok` or the error's code."""
        outcome = {} if code == "ok" else {"code": code}
        finish(self.guard.approvals.finish(approval.id, json.dumps(outcome), ok=code == "ok", code=code))

    def run(
        self, details: ApprovalDetails, user: str = "user-1", action_class: ActionClass = ActionClass.MONEY
    ) -> str | None:
        """All the way: opened, granted, consumed, done; else what stood against it."""
        approval = self.open(details, user, action_class)
        if isinstance(approval, str):
            return approval
        assert self.grant(approval)
        broken = self.consume(approval)
        self.end(approval, "ok")
        return broken

    def admit(self, action_class: ActionClass, user: str = "user-1") -> str | None:
        """Run a call that needs no approval; else what stands against it."""
        try:
            finish(self.guard.approvals.admit(self.request(user, action_class)))
        except LimitExceeded as limit:
            return limit.code
        return None

    def state(self, approval: Approval) -> str:
        found = finish(self.guard.approvals.get(approval.id))
        assert found is not None
        return found.state

    def budgets(self, principal: Principal = ANY_USER) -> tuple[Budget, ...]:
        audit_principal = self.guard.audit.recorded_principal(principal)
        return finish(
            self.store.read(lambda db: budgets(db, self.policy.limits, principal, audit_principal, self.clock.now))
        )


def _end(guard: Guard, store: InlineStore, folder: tempfile.TemporaryDirectory[str]) -> None:
    guard.locks.close()
    store.end()
    folder.cleanup()


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
    book.clock.now += DAY_SECONDS / 2
    assert book.run(_out(100)) is None


def test_each_user_has_a_daily_cap() -> None:
    book = Book(Limits(per_user_day_cents=100))
    assert book.run(_out(100), "ann") is None
    assert book.run(_out(1), "ann") == "withdrawals.per_user_day_cents"
    assert book.run(_out(100), "bob") is None


def test_waiting_withdrawal_takes_nothing_from_other_users() -> None:
    book = Book(Limits(per_day_cents=100))
    anns = book.opened(_out(100), "ann")
    assert book.open(_out(1), "ann") == "withdrawals.per_day_cents"
    assert book.run(_out(60), "bob") is None
    assert book.open(_out(41), "bob") == "withdrawals.per_day_cents"
    # It fitted when it was asked for. The total has less left now, so a person can't grant it.
    with pytest.raises(LimitExceeded, match=r"withdrawals\.per_day_cents"):
        book.grant(anns)
    assert book.state(anns) == "waiting"


def test_granted_withdrawal_takes_from_the_total_of_all_users() -> None:
    book = Book(Limits(per_day_cents=100))
    anns, bobs = book.opened(_out(60), "ann"), book.opened(_out(60), "bob")
    assert book.grant(anns)
    assert book.open(_out(41), "carl") == "withdrawals.per_day_cents"
    with pytest.raises(LimitExceeded, match=r"withdrawals\.per_day_cents"):
        book.grant(bobs)
    assert book.consume(anns) is None


def test_own_waiting_withdrawals_do_not_block_each_others_grant() -> None:
    book = Book(Limits(per_day_cents=100))
    first, second = book.opened(_out(50), "ann"), book.opened(_out(50), "ann")
    assert book.run(_out(40), "bob") is None
    assert book.grant(second)
    with pytest.raises(LimitExceeded):
        book.grant(first)
    assert book.consume(second) is None


def test_waiting_approval_counts_until_rejected_or_expired() -> None:
    book = Book(Limits(per_day_cents=100))
    waiting = book.opened(_out(100))
    assert book.open(_out(1)) == "withdrawals.per_day_cents"
    assert book.refuse(waiting)
    waiting = book.opened(_out(100))
    book.clock.now += OPEN_SECONDS
    assert book.run(_out(100)) is None
    assert not book.grant(waiting)
    assert book.consume(waiting) == "gone"


@pytest.mark.parametrize(
    ("code", "counts"),
    [("kyc.not_approved", False), ("outcome.unknown", True), ("output.blocked", True), (None, True)],
)
def test_failed_call_counts_only_if_it_may_have_happened(code: str | None, counts: bool) -> None:
    book = Book(Limits(per_day_cents=100))
    tried = book.opened(_out(100))
    assert book.grant(tried)
    assert book.consume(tried) is None
    outcome = json.dumps({} if code is None else {"code": code})
    finish(book.guard.approvals.finish(tried.id, outcome, ok=False, code=code or "unknown"))
    assert book.run(_out(1)) == ("withdrawals.per_day_cents" if counts else None)


def test_grant_from_before_midnight_counts_on_the_day_of_use() -> None:
    book = Book(Limits(per_day_cents=100), now=NOON + DAY_SECONDS / 2 - 60)
    asked = book.opened(_out(100))
    assert book.grant(asked)
    book.clock.now += 120
    assert book.consume(asked) is None
    assert book.open(_out(1)) == "withdrawals.per_day_cents"


def test_grant_over_the_limit_is_not_used() -> None:
    book = Book(Limits(mutations_per_hour=1))
    first, second = book.opened(_out(60)), book.opened(_out(60))
    assert book.grant(first) and book.grant(second)
    assert book.consume(first) is None
    assert book.consume(second) == "rates.mutations_per_hour"
    assert (book.state(first), book.state(second)) == ("executing", "granted")


def test_grant_under_a_policy_with_other_limits_is_not_used() -> None:
    book = Book(Limits(per_day_cents=100))
    asked = book.opened(_out(60))
    assert book.grant(asked)
    tighter = Policy(ASK, limits=Limits(per_day_cents=50))
    other = build_guard(book.store, tighter, ANY_USER, clock=book.clock)
    assert finish(other.approvals.consume(asked)) is False
    assert book.state(asked) == "granted"


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
        (Destination("btc", "bitcoin", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4"), True),
        (Destination("btc", "bitcoin", "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3"), False),
        (Destination("XRP", "xrp", "rABC", "12"), False),
        (Destination("XRP", "xrp", "rAbc"), False),
        (None, False),
    ],
)
def test_money_goes_only_to_exactly_listed_destinations(wanted: Destination | None, there: bool) -> None:
    bitcoin = Destination("btc", "bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")
    book = Book(Limits(destinations=frozenset({HOME, bitcoin, Destination("XRP", "xrp", "rAbc", "12")})))
    assert book.run(_out(1, wanted)) == (None if there else "withdrawals.destinations")


def test_empty_destination_list_blocks_every_withdrawal() -> None:
    assert Book(Limits(destinations=frozenset())).run(_out(1)) == "withdrawals.destinations"


# Rates


def test_approval_requests_are_limited_per_minute() -> None:
    book = Book(Limits(asks_per_minute=2))
    first, _ = [book.opened(_card(1, "allTime")) for _ in range(2)]
    assert book.open(_card(1, "allTime")) == "rates.asks_per_minute"
    assert book.grant(first)
    assert book.consume(first) is None, "an existing approval must not count again"
    book.clock.now += 60
    book.opened(_card(1, "allTime"))


def test_approval_requests_of_one_user_leave_others_theirs_until_the_total() -> None:
    book = Book(Limits(asks_per_minute=2, total_asks_per_minute=5))
    for user in ("ann", "bob"):
        for _ in range(2):
            book.opened(_card(1, "allTime"), user)
        assert book.open(_card(1, "allTime"), user) == "rates.asks_per_minute"
    book.opened(_card(1, "allTime"), "carl")
    assert book.open(_card(1, "allTime"), "carl") == "rates.total.asks_per_minute"
    book.clock.now += 60
    book.opened(_card(1, "allTime"), "carl")


@pytest.mark.parametrize(("ann", "bob"), [("ann", "bob"), ("ann and co", "bob and co"), ("", "bob")])
def test_changes_of_one_user_leave_others_theirs_until_the_total(ann: str, bob: str) -> None:
    book = Book(Limits(mutations_per_hour=2, total_mutations_per_hour=5))
    for user in (ann, bob):
        for _ in range(2):
            assert book.admit(ActionClass.WRITE, user) is None
        assert book.admit(ActionClass.WRITE, user) == "rates.mutations_per_hour"
    assert book.admit(ActionClass.WRITE, "carl") is None
    assert book.admit(ActionClass.WRITE, "carl") == "rates.total.mutations_per_hour"
    book.clock.now += 3600
    assert book.admit(ActionClass.WRITE, "carl") is None


def test_allowed_calls_do_not_count_as_approval_requests() -> None:
    limits = Limits(asks_per_minute=1)
    book = Book(limits)
    allowing = build_guard(
        book.store, Policy(dict.fromkeys(ActionClass, Rule.ALLOW), limits=limits), ANY_USER, clock=book.clock
    )
    for _ in range(5):
        finish(allowing.approvals.open_granted(book.request(), _card(1, "allTime"), "policy"))
    allowing.locks.close()
    book.opened(_card(1, "allTime"))
    assert book.open(_card(1, "allTime")) == "rates.asks_per_minute"


def test_changes_are_limited_per_hour_and_reads_are_free() -> None:
    book = Book(Limits(mutations_per_hour=2))
    # Rejected or waiting: nothing changed.
    finish(book.guard.audit.append(AuditEntry(kind="call", action_class="money")))
    for action_class in (ActionClass.WRITE, ActionClass.READ, ActionClass.READ, ActionClass.WRITE):
        assert book.admit(action_class) is None
    assert book.admit(ActionClass.WRITE) == "rates.mutations_per_hour"
    assert book.admit(ActionClass.READ) is None
    book.clock.now += 3600
    assert book.admit(ActionClass.WRITE) is None


def test_reveals_are_limited_per_day() -> None:
    book = Book(Limits(reveals_per_card_per_day=1))
    shown = ApprovalDetails("?", card_id="card-1", sink="page")
    assert book.run(shown, action_class=ActionClass.REVEAL) is None
    assert book.run(shown, action_class=ActionClass.REVEAL) == "rates.reveals_per_card_per_day"
    assert book.run(ApprovalDetails("?", card_id="card-2", sink="page"), action_class=ActionClass.REVEAL) is None
    book.clock.now += DAY_SECONDS
    assert book.run(shown, action_class=ActionClass.REVEAL) is None


def test_unlisted_sink_reveals_nothing() -> None:
    assert Book(Limits()).run(ApprovalDetails("?", sink="model"), action_class=ActionClass.REVEAL) == "reveal.sinks"


def test_reveals_that_show_nothing_are_counted_apart_from_the_others() -> None:
    book = Book(Limits(reveals_per_card_per_day=1))
    request = CallRequest("reveal_card", ActionClass.READ, "user-1", "")
    checks = [ApprovalDetails("", card_id=card, sink="none") for card in ("card-1", "4111 1111 1111 1111")]
    for check in checks:
        finish(book.guard.approvals.admit(request, check))
        with pytest.raises(LimitExceeded, match=r"rates\.reveals_per_card_per_day"):
            finish(book.guard.approvals.admit(request, check))
        shown = ApprovalDetails("?", card_id=check.card_id, sink="page")
        assert book.run(shown, action_class=ActionClass.REVEAL) is None
        assert book.run(shown, action_class=ActionClass.REVEAL) == "rates.reveals_per_card_per_day"
    book.clock.now += DAY_SECONDS
    finish(book.guard.approvals.admit(request, checks[0]))


# The clock


def test_clock_set_back_over_five_minutes_blocks_all_but_reads_and_closing() -> None:
    book = Book(Limits(per_day_cents=100))
    assert book.run(_out(100)) is None
    book.clock.now -= 300
    book.opened(_card(1, "allTime"))
    book.clock.now -= 1
    for action_class in [found for found in ActionClass if found not in (ActionClass.READ, ActionClass.DESTROY)]:
        assert book.open(ApprovalDetails("?"), action_class=action_class) == CLOCK_SET_BACK
        assert book.admit(action_class) == CLOCK_SET_BACK
    assert book.admit(ActionClass.READ) is None
    assert isinstance(book.open(ApprovalDetails("?"), action_class=ActionClass.DESTROY), Approval)


def test_audit_rows_also_detect_a_clock_set_back() -> None:
    book = Book(Limits())
    assert book.admit(ActionClass.READ) is None
    book.clock.now -= 301
    assert book.open(_card(1, "allTime")) == CLOCK_SET_BACK


# Budgets

EVERY_LIMIT = Limits(
    max_limit_cents={"allTime": 500},
    per_call_cents=80,
    per_day_cents=100,
    per_user_day_cents=90,
    asks_per_minute=5,
    mutations_per_hour=7,
    reveals_per_card_per_day=3,
    total_asks_per_minute=50,
    total_mutations_per_hour=70,
)


def test_budgets_show_the_remainder_of_each_limit() -> None:
    book = Book(EVERY_LIMIT)
    assert book.run(_out(60), "ann") is None
    assert [(b.limit, b.most, b.left) for b in book.budgets(Principal.of("ann", None))] == [
        ("withdrawals.per_call_cents", 80, None),
        ("withdrawals.per_day_cents", 100, 40),
        ("withdrawals.per_user_day_cents", 90, 30),
        ("cards.max_limit_cents.allTime", 500, None),
        ("rates.asks_per_minute", 5, 4),
        ("rates.mutations_per_hour", 7, 6),
        ("rates.reveals_per_card_per_day", 3, None),
        ("rates.locks_per_hour", 5, 5),
        ("approval.waiting_per_user", 20, 20),
        ("rates.total.asks_per_minute", 50, 49),
        ("rates.total.mutations_per_hour", 70, 69),
    ]
    of_any = {b.limit: b.left for b in book.budgets()}
    assert (of_any["withdrawals.per_day_cents"], of_any["rates.total.asks_per_minute"]) == (40, 49)
    assert (of_any["withdrawals.per_user_day_cents"], of_any["rates.asks_per_minute"]) == (None, None)


def test_budgets_do_not_count_the_usage_of_other_users() -> None:
    book = Book(Limits(per_day_cents=100, mutations_per_hour=7, total_asks_per_minute=5, total_mutations_per_hour=9))
    assert book.run(_out(60), "ann and others") is None
    assert [b.left for b in book.budgets(Principal.of("ann and others", None))] == [40, 6, 5, 20, 4, 8]
    assert [b.left for b in book.budgets(Principal.of("bob", None))] == [100, 7, 5, 20, 5, 9]
    both = Principal.of(None, frozenset({"bob", "ann and others"}))
    assert [b.left for b in book.budgets(both)] == [40, None, None, None, 4, 8]


def test_without_other_limits_the_budgets_are_those_with_defaults() -> None:
    book = Book(Limits())
    assert [b.limit for b in book.budgets()] == ["rates.locks_per_hour", "approval.waiting_per_user"]


def test_locks_and_waiting_calls_are_taken_from_their_budgets() -> None:
    book = Book(Limits(locks_per_hour=3, waiting_per_user=2))
    lock = replace(book.request("user-1", ActionClass.WRITE), tool="update_card", protective=True)
    assert isinstance(book.open(_card(1, "allTime")), Approval)
    finish(book.guard.approvals.admit(lock))
    finish(book.guard.approvals.open(lock, ApprovalDetails("Lock it?", protective=True)))
    assert [(b.limit, b.left) for b in book.budgets(Principal.of("user-1", None))] == [
        ("rates.locks_per_hour", 2),
        ("approval.waiting_per_user", 1),
    ]
    assert [b.left for b in book.budgets(Principal.of("user-2", None))] == [3, 2]


def test_every_limit_of_which_something_can_be_left_has_a_budget() -> None:
    shown = {budget.limit for budget in Book(EVERY_LIMIT).budgets()} - {"cards.max_limit_cents.allTime"}
    sources = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (limits, protective)]
    found = {limit for source in sources for limit in LIMIT.findall(source)}
    assert found == shown | UNCOUNTED


# Random sequences

CAP, USER_CAP = 100, 70


class AnyOrder(RuleBasedStateMachine):
    """Opens, decisions, executions, endings and a clock that jumps a little back and any way forward."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book(Limits(per_day_cents=CAP, per_user_day_cents=USER_CAP), now=NOON + DAY_SECONDS / 2 - 600)
        self.newest = self.book.clock.now
        self.approvals: list[Approval] = []

    def teardown(self) -> None:
        self.book.close()

    def _pick(self, index: int) -> Approval:
        return self.approvals[index % len(self.approvals)]

    @rule(cents=st.integers(1, CAP), user=st.sampled_from(["ann", "bob", "cid"]))
    def opens(self, cents: int, user: str) -> None:
        before = self._reserved_for(user)
        approval = self.book.open(_out(cents), user)
        if isinstance(approval, Approval):
            self.approvals.append(approval)
        else:
            assert approval in {"withdrawals.per_day_cents", "withdrawals.per_user_day_cents"}
            assert approval == "withdrawals.per_user_day_cents" or before + cents > CAP

    def _reserved_for(self, user: str) -> int:
        """Return what stands against this user's next withdrawal: granted ones of all, waiting ones of their own."""
        now = self.book.clock.now
        query = (
            "SELECT coalesce(sum(amount_cents), 0) FROM approvals WHERE"
            " (state = 'waiting' AND expires_at > :now AND user_id = :user)"
            " OR (state = 'granted' AND expires_at > :now)"
            " OR (started_at >= :day AND (state IN ('executing', 'done') OR outcome LIKE '%unknown%'"
            " OR outcome LIKE '%blocked%'))"
        )
        given = {"now": now, "user": user, "day": now - now % DAY_SECONDS}
        return int(finish(self.book.store.read(lambda db: db.execute(query, given).fetchone()[0])))

    @precondition(lambda self: self.approvals)
    @rule(index=st.integers(0, 30), to=st.sampled_from(["grant", "grant", "grant", "refuse"]))
    def decides(self, index: int, to: str) -> None:
        try:
            (self.book.grant if to == "grant" else self.book.refuse)(self._pick(index))
        except LimitExceeded as limit:
            assert limit.code == "withdrawals.per_day_cents"

    @precondition(lambda self: self.approvals)
    @rule(index=st.integers(0, 30))
    def consumes(self, index: int) -> None:
        self.book.consume(self._pick(index))

    @precondition(lambda self: self.approvals)
    @rule(
        index=st.integers(0, 30), code=st.sampled_from(["ok", "kyc.not_approved", "outcome.unknown", "output.blocked"])
    )
    def ends(self, index: int, code: str) -> None:
        self.book.end(self._pick(index), code)

    @precondition(lambda self: self.approvals)
    @rule(index=st.integers(0, 30))
    def gives_back(self, index: int) -> None:
        finish(self.book.guard.approvals.return_grant(self._pick(index).id))

    @rule(seconds=st.one_of(st.integers(-300, 1800), st.just(DAY_SECONDS // 2)))
    def time_goes_on(self, seconds: int) -> None:
        self.book.clock.now = max(self.book.clock.now + seconds, self.newest - 300)
        self.newest = max(self.newest, self.book.clock.now)

    @invariant()
    def no_day_and_no_user_is_over_the_cap(self) -> None:
        days: dict[tuple[int, str], int] = {}
        query = (
            "SELECT user_id, amount_cents, started_at FROM approvals WHERE state IN ('executing', 'done')"
            " OR (state = 'failed' AND (outcome LIKE '%unknown%' OR outcome LIKE '%blocked%'))"
        )
        for row in finish(self.book.store.read(lambda db: db.execute(query).fetchall())):
            key = (int(row["started_at"] // DAY_SECONDS), row["user_id"])
            days[key] = days.get(key, 0) + row["amount_cents"]
        assert all(cents <= USER_CAP for cents in days.values())
        for day in {day for day, _ in days}:
            assert sum(cents for (d, _), cents in days.items() if d == day) <= CAP


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=40)


# Two servers that share a folder


@pytest.mark.anyio
async def test_concurrent_calls_in_two_servers_stay_within_the_daily_cap(tmp_path: Path) -> None:
    policy = Policy(ASK, limits=Limits(per_day_cents=100, mutations_per_hour=8))
    stores = [Store(tmp_path / "state") for _ in range(2)]
    guards = [build_guard(store, policy, ANY_USER) for store in stores]
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

"""Running totals: always the sum of all entries, whatever the clock does and whoever writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines_mcp.sandbox import ledger
from machines_mcp.sandbox.clock import Clock
from machines_mcp.sandbox.state import State
from machines_mcp.sandbox.totals import Totals, totals_at

KINDS: Final = ("collateral", "spend", "fee", "payment")
USERS: Final = ("one", "other")
START: Final = 1_000_000.0


class StoppedClock(Clock):
    """A clock that stands still, so that events share a timestamp. A test moves it forward and back."""

    def __init__(self) -> None:
        super().__init__()
        self.moment = START

    def now(self) -> float:
        return self.moment


@contextmanager
def opened() -> Iterator[tuple[State, StoppedClock]]:
    state = State.open(None)
    state.clock = clock = StoppedClock()
    for user_id in USERS:
        state.insert("users", user_id=user_id, created_at=START, data_key=b"")
    yield state, clock
    state.db.close()


def summed(state: State, user_id: str, now: float) -> Totals:
    """Sum every entry by the definition of the totals."""
    there = [
        row
        for row in state.rows("SELECT * FROM entries WHERE user_id = ? AND NOT declined", user_id)
        if row["created_at"] <= now
    ]
    charges = [row for row in there if row["type"] in ("spend", "fee")]
    return Totals(
        sum(row["amount_cents"] for row in there if row["type"] == "collateral"),
        sum(row["amount_cents"] for row in charges if row["posts_at"] > now),
        sum(row["amount_cents"] for row in charges if row["posts_at"] <= now),
    )


moments = st.integers(-4, 6).map(float)
entered = st.tuples(
    *(st.just("enter"), st.sampled_from(USERS), st.sampled_from(KINDS), st.integers(-500, 500)),
    *(moments, st.integers(0, 4).map(float), st.booleans()),
)
moved = st.tuples(st.just("move"), st.integers(0, 30), moments)
passed = st.tuples(st.just("pass"), st.sampled_from([0.0, 1.0, 3.0, 86_400.0, -2.0]))
read = st.tuples(st.just("read"), st.sampled_from(USERS))


# Reading updates the totals, so every kind of step must occur before and after a read.
@settings(max_examples=200)
@given(st.lists(entered | moved | passed | read, min_size=15, max_size=30))
def test_totals_equal_the_plain_sums(steps: list[tuple[object, ...]]) -> None:
    with opened() as (state, clock):
        for step in steps:
            apply(state, clock, step)
        for user_id in USERS:
            assert totals_at(state, user_id, clock.moment) == summed(state, user_id, clock.moment)


def apply(state: State, clock: StoppedClock, step: tuple[object, ...]) -> None:
    match step:
        case ("enter", str(user_id), str(kind), int(cents), float(ahead), float(delay), bool(declined)):
            at = clock.moment + ahead
            ledger.enter(state, user_id, kind, cents, at=at, posts_at=at + delay, declined=int(declined))
        case ("move", int(number), float(ahead)):
            at, number = clock.moment + ahead, number % max(1, state.number("SELECT count(*) FROM entries")) + 1
            state.db.execute("UPDATE entries SET created_at = ?, posts_at = ? WHERE rowid = ?", (at, at, number))
        case ("pass", float(seconds)):
            clock.moment += seconds
        case ("read", str(user_id)):
            assert totals_at(state, user_id, clock.moment) == summed(state, user_id, clock.moment)


@pytest.mark.parametrize("seconds", [3.0, 10 * 366 * 86_400.0])
def test_charge_posts_once_when_the_clock_jumps_past_it(seconds: float) -> None:
    with opened() as (state, clock):
        ledger.enter(state, "one", "collateral", 1000, at=START)
        ledger.enter(state, "one", "spend", 300, at=START, posts_at=START + 3)
        assert totals_at(state, "one", clock.moment) == Totals(1000, 300, 0)
        clock.moment += seconds
        for _ in range(3):
            assert totals_at(state, "one", clock.moment) == Totals(1000, 0, 300)


def test_entry_at_the_time_of_the_last_read_is_counted() -> None:
    with opened() as (state, clock):
        for times in range(1, 4):
            ledger.enter(state, "one", "collateral", 100, at=clock.moment)
            assert totals_at(state, "one", clock.moment).collateral == times * 100

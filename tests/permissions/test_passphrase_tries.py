"""The delays after wrong passphrases: counted for each place, kept in the state folder, and reported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest

from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.passphrase_tries import (
    ALARM_SECONDS,
    ALARM_TRIES,
    CHECK_SECONDS,
    FORGET_SECONDS,
    PassphrasePlace,
    PassphraseTries,
    format_alarm,
)
from machines_mcp.permissions.policy import default_policy
from machines_mcp.storage.database import Store, StoreUnavailable
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

PLACES: tuple[PassphrasePlace, ...] = get_args(PassphrasePlace)
DELAYS = [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.fixture
def tries(guard: Guard) -> PassphraseTries:
    return guard.passphrase.tries


@pytest.fixture
async def other_process(tmp_path: Path, clock: Clock) -> AsyncIterator[PassphraseTries]:
    """Return the tries as another process on the same folder sees them."""
    other = Store(tmp_path / "state")
    yield build_guard(other, default_policy("embedded", read_only=False), ANY_USER, clock=clock).passphrase.tries
    await other.close()


async def wrong(tries: PassphraseTries, place: PassphrasePlace = "terminal") -> float:
    """Make a wrong try. Return the seconds until the next one."""
    assert await tries.begin(place) == 0
    return await tries.end(place, right=False)


@pytest.mark.parametrize("place", PLACES)
async def test_delays_double_up_to_a_minute(tries: PassphraseTries, clock: Clock, place: PassphrasePlace) -> None:
    for delay in DELAYS:
        assert await wrong(tries, place) == delay
        assert await tries.begin(place) == await tries.wait(place) == delay
        clock.advance(delay - 0.5)
        assert await tries.begin(place) == await tries.wait(place) == 0.5
        clock.advance(0.5)
        assert await tries.wait(place) == 0


async def test_tries_during_a_delay_prolong_nothing(tries: PassphraseTries, clock: Clock) -> None:
    await wrong(tries)
    for _ in range(100):
        assert await tries.begin("terminal") == 1
    clock.advance(1)
    assert await wrong(tries) == 2


async def test_a_right_passphrase_ends_the_delays_of_its_way_only(tries: PassphraseTries, clock: Clock) -> None:
    for delay in DELAYS[:3]:
        for place in ("sign-in", "desk"):
            assert await wrong(tries, place) == delay
        clock.advance(delay)
    assert await tries.begin("desk") == 0
    assert await tries.end("desk", right=True) == 0
    assert [await wrong(tries, place) for place in ("desk", "sign-in")] == [1, 8]


async def test_delays_are_kept_for_all_processes(
    tries: PassphraseTries, other_process: PassphraseTries, clock: Clock
) -> None:
    for number, delay in enumerate(DELAYS):
        assert await wrong((tries, other_process)[number % 2]) == delay
        assert await other_process.wait("terminal") == await tries.wait("terminal") == delay
        clock.advance(delay)


async def test_delays_begin_anew_after_a_quarter_of_an_hour(tries: PassphraseTries, clock: Clock) -> None:
    for delay in DELAYS[:5]:
        await wrong(tries)
        clock.advance(delay)
    clock.advance(FORGET_SECONDS)
    assert await wrong(tries) == 1


async def test_a_try_that_never_ended_counts_as_wrong(
    tries: PassphraseTries, other_process: PassphraseTries, clock: Clock
) -> None:
    for delay in DELAYS[:3]:
        await wrong(tries)
        clock.advance(delay)
    assert await tries.begin("terminal") == 0
    clock.advance(CHECK_SECONDS)
    assert await other_process.begin("terminal") == 8 - CHECK_SECONDS
    clock.advance(8 - CHECK_SECONDS)
    assert await wrong(other_process) == 16


async def test_a_clock_that_is_set_back_prolongs_no_delay(tries: PassphraseTries, clock: Clock) -> None:
    for delay in DELAYS:
        await wrong(tries)
        clock.advance(delay)
    clock.advance(-10 * 24 * 60 * 60)
    assert await tries.begin("terminal") == 60
    clock.advance(60)
    assert await tries.begin("terminal") == 0


async def test_each_wrong_try_and_the_alarm_are_in_the_audit_log(
    tries: PassphraseTries, guard: Guard, clock: Clock
) -> None:
    for delay in DELAYS:
        await wrong(tries, "sign-in")
        clock.advance(delay)
    rows = [(row.kind, row.verdict, row.code, row.by) for row in await guard.audit.rows(ANY_USER)]
    one, alarm = ("decision", "wrong", "passphrase", "desk"), ("alarm", None, "passphrase.wrong_tries", "desk")
    assert rows == [one] * ALARM_TRIES + [alarm] + [one] * (len(DELAYS) - ALARM_TRIES)


async def test_five_wrong_tries_raise_an_alarm_for_a_day(tries: PassphraseTries, clock: Clock) -> None:
    since = clock.now
    for delay in DELAYS[: ALARM_TRIES - 1]:
        await wrong(tries, "sign-in")
        clock.advance(delay)
    assert await tries.alarms() == []
    await wrong(tries, "sign-in")
    (alarm,) = await tries.alarms()
    assert (alarm.place, alarm.count, alarm.since, alarm.last_at) == ("sign-in", ALARM_TRIES, since, clock.now)
    assert format_alarm(alarm).startswith("5 wrong passphrases were typed at the desk's sign-in since ")
    # The right passphrase does not hide what happened before.
    clock.advance(60)
    assert await tries.begin("sign-in") == 0
    await tries.end("sign-in", right=True)
    assert [found.count for found in await tries.alarms()] == [ALARM_TRIES]
    clock.advance(ALARM_SECONDS)
    assert await tries.alarms() == []


async def test_a_mistake_a_day_raises_no_alarm(tries: PassphraseTries, clock: Clock) -> None:
    for _ in range(3 * ALARM_TRIES):
        await wrong(tries)
        clock.advance(ALARM_SECONDS)
        assert await tries.alarms() == []


async def test_a_try_that_can_not_be_counted_is_not_allowed(tries: PassphraseTries, store: Store) -> None:
    await store.read(lambda db: db.execute("PRAGMA query_only = ON"))
    with pytest.raises(StoreUnavailable):
        await tries.begin("terminal")

from __future__ import annotations

import pytest

from machines_mcp.partner import errors, retries
from machines_mcp.partner.request import Request
from machines_mcp.partner.retries import ATTEMPTS, LONGEST_RETRY_AFTER, RetryBudget, is_retryable
from tests.support.clock import Clock

READ = Request.get("/cards")
KEYED = Request.mutation("POST", "/cards", {}, idempotency_key="request-0001")
KEYLESS = Request.mutation("DELETE", "/cards/{cardId}", ids={"cardId": "card-0001"})
ASKED = Request.read_by_post("/deposits/range", {})
LONG = 1e9


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def shared(clock: Clock) -> RetryBudget:
    return RetryBudget(clock)


def is_retried(request: Request, error: errors.PartnerError, left: float = LONG) -> bool:
    return RetryBudget(Clock()).delay(request, error, 1, left) is not None


@pytest.mark.parametrize(
    ("error", "read", "keyed"),
    [
        (errors.Unreachable(), True, True),
        (errors.RateLimited(status=429), True, True),
        (errors.RateLimited(status=429, retry_after=1), True, True),
        (errors.ServerError(status=503, outcome_known=False, retry_after=1), True, True),
        (errors.ServerError(status=503, outcome_known=False), True, False),
        (errors.ServerError(status=500, outcome_known=False, retry_after=1), False, False),
        (errors.ServerError(status=502, outcome_known=False), False, False),
        (errors.ServerError(status=504, outcome_known=False), False, False),
        (errors.TimedOut(outcome_known=False), False, False),
        (errors.TimedOut(), False, False),
        (errors.ConnectionLost(), True, False),
        (errors.ConnectionLost(outcome_known=False), True, False),
        (errors.Malformed(status=200, outcome_known=False), False, False),
        (errors.Redirected(status=302, outcome_known=False), False, False),
        (errors.TooLarge(status=200, outcome_known=False), False, False),
        (errors.Unauthorized(status=401), False, False),
        (errors.Conflict(status=409), False, False),
        (errors.InvalidRequest(status=422), False, False),
    ],
    ids=lambda value: (
        f"{value!r} {value.status} {value.retry_after}" if isinstance(value, errors.PartnerError) else None
    ),
)
def test_which_failures_are_retried(error: errors.PartnerError, read: bool, keyed: bool) -> None:
    assert is_retried(READ, error) is read
    assert is_retried(KEYED, error) is keyed
    assert not is_retried(KEYLESS, error)
    assert not is_retried(ASKED, error)


def test_requests_that_are_never_retried_are_known_in_advance() -> None:
    assert [is_retryable(request) for request in (READ, KEYED, KEYLESS, ASKED)] == [True, True, False, False]


def test_backoff_doubles_from_a_quarter_second_to_eight() -> None:
    drawn = [
        [RetryBudget(Clock()).delay(READ, errors.Unreachable(), tries, LONG) for _ in range(400)] for tries in (1, 2, 3)
    ]
    for pauses, longest in zip(drawn, (0.25, 1.5, 8.0), strict=True):
        found = sorted(pause for pause in pauses if pause is not None)
        assert len(found) == 400
        assert 0 <= found[0] < longest * 0.05
        assert longest * 0.95 < found[-1] <= longest
        # Full jitter: spread evenly from zero, unlike a pause with a little noise.
        assert longest * 0.4 < found[200] < longest * 0.6


def test_fourth_failure_is_returned(shared: RetryBudget) -> None:
    assert ATTEMPTS == 4
    assert shared.delay(READ, errors.Unreachable(), ATTEMPTS, LONG) is None


@pytest.mark.parametrize("seconds", [0, 1, 59, LONGEST_RETRY_AFTER])
def test_retry_after_is_honoured_with_a_margin(shared: RetryBudget, seconds: float) -> None:
    pause = shared.delay(READ, errors.RateLimited(status=429, retry_after=seconds), 1, LONG)
    assert pause is not None
    assert seconds <= pause <= seconds + 0.25


@pytest.mark.parametrize(("seconds", "left"), [(60.001, LONG), (86400, LONG), (5, 5), (5, 1), (0, 0), (0, -1)])
def test_retry_after_beyond_a_minute_or_the_deadline_is_not_waited_for(
    shared: RetryBudget, seconds: float, left: float
) -> None:
    assert shared.delay(READ, errors.RateLimited(status=429, retry_after=seconds), 1, left) is None


def failures(shared: RetryBudget, calls: int) -> int:
    """Count the retries of `calls` requests when every attempt fails."""
    repeated = 0
    for _ in range(calls):
        shared.record_request()
        tries = 1
        while shared.delay(READ, errors.ServerError(status=503), tries, LONG) is not None:
            tries += 1
        repeated += tries - 1
    return repeated


def test_single_call_uses_all_its_retries(shared: RetryBudget) -> None:
    # Its session first, then the call.
    assert failures(shared, 2) == 2 * (ATTEMPTS - 1)


@pytest.mark.parametrize("calls", [10, 100, 1000, 5000])
def test_only_a_tenth_is_retried_when_everything_fails(shared: RetryBudget, calls: int) -> None:
    assert failures(shared, calls) <= max(retries._FLOOR, calls / 10)


def test_retry_budget_recovers_with_time(shared: RetryBudget, clock: Clock) -> None:
    for _ in range(3):
        assert failures(shared, 50) == retries._FLOOR
        assert failures(shared, 50) == 0
        clock.now += retries._WINDOW_SECONDS + 1


def test_retry_that_misses_the_deadline_uses_no_budget(shared: RetryBudget) -> None:
    for _ in range(50):
        assert shared.delay(READ, errors.Unreachable(), 1, 0) is None
        assert shared.delay(READ, errors.Unreachable(), ATTEMPTS, LONG) is None
    assert failures(shared, 2) == 2 * (ATTEMPTS - 1)


def test_old_requests_are_forgotten(shared: RetryBudget, clock: Clock) -> None:
    for _ in range(10_000):
        shared.record_request()
        clock.now += 1
    assert len(shared._sent) <= retries._WINDOW_SECONDS + 1

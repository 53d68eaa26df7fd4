from __future__ import annotations

import pytest

from machines_mcp.permissions.clock import CLOCK_SET_BACK
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.limits import UNCOUNTED
from machines_mcp.protocol.approval_errors import limit_exceeded
from machines_mcp.protocol.errors import Code


@pytest.mark.parametrize(
    ("bar", "text", "details"),
    [
        (
            LimitExceeded("withdrawals.per_day_cents"),
            "withdrawals.per_day_cents",
            {"limit": "withdrawals.per_day_cents"},
        ),
        (LimitExceeded(CLOCK_SET_BACK), "The server's clock is behind its stored rows", {"limit": CLOCK_SET_BACK}),
        (
            LimitExceeded("cooldown", 1_800_000_000.0),
            "refused this three times",
            {"cooldown_until": "2027-01-15T08:00:00Z"},
        ),
    ],
)
def test_each_refusal_reason_is_reported_and_enforced(bar: LimitExceeded, text: str, details: dict[str, str]) -> None:
    tool_error = limit_exceeded(bar)
    assert tool_error.code is Code.POLICY_DENIED
    assert text in tool_error.message
    assert tool_error.details == details
    assert tool_error.payload()["retryable"] is False


@pytest.mark.parametrize("limit", sorted(UNCOUNTED))
def test_a_limit_of_which_nothing_can_be_left_leads_to_no_budget(limit: str) -> None:
    assert "status" not in limit_exceeded(LimitExceeded(limit)).message
    assert "status" in limit_exceeded(LimitExceeded("rates.locks_per_hour")).message

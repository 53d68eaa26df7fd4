from __future__ import annotations

import pytest

from machines_mcp.permissions.cooldown import Barred
from machines_mcp.permissions.limits import CLOCK_SET_BACK
from machines_mcp.protocol.approval_errors import barred
from machines_mcp.protocol.errors import Code


@pytest.mark.parametrize(
    ("bar", "says", "details"),
    [
        (Barred("withdrawals.per_day_cents"), "withdrawals.per_day_cents", {"limit": "withdrawals.per_day_cents"}),
        (Barred(CLOCK_SET_BACK), "The clock of the server's machine was set back", {"limit": CLOCK_SET_BACK}),
        (Barred("paused", 1_800_000_000.0), "refused this three times", {"paused_until": "2027-01-15T08:00:00+00:00"}),
    ],
)
def test_what_stands_against_a_call_is_told_and_can_not_be_got_around(
    bar: Barred, says: str, details: dict[str, str]
) -> None:
    refusal = barred(bar)
    assert refusal.code is Code.POLICY_DENIED
    assert says in refusal.message
    assert refusal.details == details
    assert refusal.payload()["retryable"] is False

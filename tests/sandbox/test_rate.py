"""The rate limit: a number of calls per window of the sandbox's clock, then 429 with Retry-After."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.sandbox_caller import SandboxClient, User


@pytest.fixture
def user(own_sandbox: SandboxClient) -> Iterator[User]:
    yield own_sandbox.ready_user()
    own_sandbox.control("/rate", {"calls": 0})


def test_call_over_the_limit_gets_retry_after(user: User) -> None:
    user.caller.control("/rate", {"calls": 3, "windowSeconds": 100})
    for _ in range(3):
        assert user.call("GET", "/balances").status == 200
    refused = user.call("GET", "/cards")
    assert refused.error == (429, "rate_limited", None)
    assert 98 <= int(refused.headers["retry-after"]) <= 100
    user.caller.control("/clock", {"advanceSeconds": 60})
    assert int(user.call("GET", "/cards").headers["retry-after"]) <= 40
    user.caller.control("/clock", {"advanceSeconds": 40})
    assert user.call("GET", "/cards").status == 200


def test_rate_limit_is_checked_before_the_credential(user: User) -> None:
    user.caller.control("/rate", {"calls": 1, "windowSeconds": 100})
    assert user.caller.call("GET", "/cards", token="no token").error[0] == 401
    assert user.caller.call("GET", "/cards", token="no token").error[0] == 429


def test_limit_of_none_allows_every_call(user: User) -> None:
    user.caller.control("/rate", {"calls": 1})
    assert user.caller.control("")["rateLimit"] == {"calls": 1, "windowSeconds": 60}
    user.caller.control("/rate", {"calls": 0})
    assert user.caller.control("")["rateLimit"] is None
    assert [user.call("GET", "/cards").status for _ in range(5)] == [200] * 5


@pytest.mark.parametrize("body", [{}, {"calls": -1}, {"calls": "3"}, {"calls": 1, "windowSeconds": 0}])
def test_invalid_limit_is_rejected(own_sandbox: SandboxClient, body: dict[str, object]) -> None:
    assert own_sandbox.raw("POST", "/control/rate", json=body).status_code == 400

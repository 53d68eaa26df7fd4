"""Provisioning: a first deposit that comes too early is rejected by name, and accepted shortly after."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.sandbox_caller import SandboxClient, User

DEPOSIT = {"currency": "rusd", "network": "base", "amount": 5}


@pytest.fixture
def slow(own_sandbox: SandboxClient) -> Iterator[SandboxClient]:
    own_sandbox.control("/provisioning", {"slow": True})
    yield own_sandbox
    own_sandbox.control("/provisioning", {"slow": False})


def test_first_deposit_has_no_contract_until_provisioned(slow: SandboxClient) -> None:
    user: User = slow.ready_user()
    key = {"Idempotency-Key": "first-deposit"}
    assert user.call("POST", "/deposits", DEPOSIT, headers=key).error == (409, "missing_contract", None)
    assert user.call("GET", "/deposits").data["deposits"] == []
    slow.control("/clock", {"advanceSeconds": 2})
    for _ in range(2):
        assert user.call("POST", "/deposits", DEPOSIT, headers=key).status == 200
    other: User = slow.ready_user()
    assert other.call("POST", "/deposits", DEPOSIT).error == (409, "missing_contract", None)


def test_contract_exists_at_once_by_default(own_sandbox: SandboxClient) -> None:
    assert own_sandbox.ready_user().call("POST", "/deposits", DEPOSIT).status == 200

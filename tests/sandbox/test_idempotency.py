"""An idempotency key makes a request take effect once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.sandbox_caller import SandboxClient, User

KEY = {"Idempotency-Key": "a-key-of-this-test"}
DEPOSIT = {"currency": "rusd", "network": "base", "amount": 10}
CREATES = [
    ("/cards", {}, {"limit": {"amountCents": 1, "frequency": "allTime"}}),
    ("/deposits", DEPOSIT, DEPOSIT | {"amount": 11}),
]


@pytest.fixture
def user(partner: SandboxClient) -> User:
    return partner.ready_user()


def count(user: User, path: str) -> list[Any]:
    data = user.call("GET", path).data
    found: list[Any] = data["cards"] if path == "/cards" else data["deposits"]
    return found


@pytest.mark.parametrize(("path", "body", "other"), CREATES)
def test_same_key_and_body_replays_the_first_response(user: User, path: str, body: Any, other: Any) -> None:
    first = user.call("POST", path, body, headers=KEY)
    assert user.call("POST", path, body, headers=KEY).body == first.body
    assert user.call("POST", path, dict(reversed(list(body.items()))), headers=KEY).body == first.body
    assert len(count(user, path)) == 1


@pytest.mark.parametrize(("path", "body", "other"), CREATES)
def test_same_key_with_another_body_is_a_conflict(user: User, path: str, body: Any, other: Any) -> None:
    user.call("POST", path, body, headers=KEY)
    assert user.call("POST", path, other, headers=KEY).error == (409, "idempotency_conflict", None)
    assert len(count(user, path)) == 1


@pytest.mark.parametrize(("path", "body", "other"), CREATES)
def test_request_without_a_key_or_with_another_key_is_repeated(user: User, path: str, body: Any, other: Any) -> None:
    for headers in ({}, {}, KEY, {"Idempotency-Key": "another-key"}):
        assert user.call("POST", path, body, headers=headers).status == 200
    assert len(count(user, path)) == 4


def test_key_belongs_to_one_user_and_one_operation(partner: SandboxClient, user: User) -> None:
    first = user.call("POST", "/cards", {}, headers=KEY).data
    assert user.call("POST", "/deposits", DEPOSIT, headers=KEY).status == 200
    assert partner.ready_user().call("POST", "/cards", {}, headers=KEY).data["cardId"] != first["cardId"]


@pytest.mark.parametrize("key", ["1234567", "k" * 129, ""])
@pytest.mark.parametrize("path", ["/cards", "/deposits", "/withdrawals"])
def test_key_outside_8_to_128_characters_is_rejected(user: User, path: str, key: str) -> None:
    body = {"amountCents": 500, "destination": {"currency": "rusd", "network": "base", "address": "0x" + "1" * 40}}
    reply = user.call("POST", path, body if path == "/withdrawals" else DEPOSIT, headers={"Idempotency-Key": key})
    assert reply.error == (400, "invalid_request", "Idempotency-Key")


@pytest.mark.parametrize("key", ["12345678", "k" * 128])
def test_keys_of_minimum_and_maximum_length_are_accepted(user: User, key: str) -> None:
    assert user.call("POST", "/cards", {}, headers={"Idempotency-Key": key}).status == 200


def test_error_is_not_stored_for_a_key(partner: SandboxClient) -> None:
    user_id = partner.approved_user()
    user = User(user_id, partner.session(user_id), partner)
    assert user.call("POST", "/cards", {}, headers=KEY).status == 409
    user.call("POST", "/agreements", {"accepted": True})
    assert user.call("POST", "/cards", {}, headers=KEY).status == 200


def test_concurrent_requests_with_one_key_create_one_card(partner: SandboxClient, user: User) -> None:
    def create(_: int) -> str:
        caller = SandboxClient(partner.sandbox)
        try:
            card_id: str = caller.call("POST", "/cards", {}, token=user.token, headers=KEY).data["cardId"]
            return card_id
        finally:
            caller.close()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(24)))) == 1
    assert len(count(user, "/cards")) == 1


@pytest.fixture
def keyless(own_sandbox: SandboxClient) -> Iterator[User]:
    own_sandbox.control("/keys", {"honoured": False})
    yield own_sandbox.funded_user(100)
    own_sandbox.control("/keys", {"honoured": True})


@pytest.mark.parametrize(("path", "body", "other"), CREATES)
def test_disabled_keys_repeat_every_request(keyless: User, path: str, body: Any, other: Any) -> None:
    before = len(count(keyless, path))
    for content in (body, body, other):
        assert keyless.call("POST", path, content, headers=KEY).status == 200
    assert len(count(keyless, path)) == before + 3
    keyless.caller.control("/keys", {"honoured": True})
    for _ in range(2):
        assert keyless.call("POST", path, body, headers=KEY).status == 200
    assert len(count(keyless, path)) == before + 4


def test_withdrawal_with_a_disabled_key_is_a_new_one(keyless: User) -> None:
    destination = {"currency": "rusd", "network": "base", "address": "0x" + "1" * 40}
    order = {"amountCents": 500, "destination": destination}
    found = [keyless.call("POST", "/withdrawals", order, headers=KEY).data["status"] for _ in range(3)]
    # The third request is a separate withdrawal, which waits for the first one's signature.
    assert found == ["pending", "ready", "pending"]
    (shown,) = (one for one in keyless.caller.control("")["users"] if one["userId"] == keyless.user_id)
    assert (shown["withdrawals"]["pending"], shown["withdrawals"]["ready"]) == (1, 1)


@pytest.mark.parametrize("key", ["1234567", "k" * 129])
def test_disabled_key_is_still_checked_for_length(keyless: User, key: str) -> None:
    reply = keyless.call("POST", "/cards", {}, headers={"Idempotency-Key": key})
    assert reply.error == (400, "invalid_request", "Idempotency-Key")

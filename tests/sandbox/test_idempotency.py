"""A key makes a request happen once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.sandbox.caller import Caller, User

KEY = {"Idempotency-Key": "a-key-of-this-test"}
DEPOSIT = {"currency": "rusd", "network": "base", "amount": 10}
CREATES = [
    ("/cards", {}, {"limit": {"amountCents": 1, "frequency": "allTime"}}),
    ("/deposits", DEPOSIT, DEPOSIT | {"amount": 11}),
]


@pytest.fixture
def user(partner: Caller) -> User:
    return partner.ready_user()


def made(user: User, path: str) -> list[Any]:
    data = user.call("GET", path).data
    found: list[Any] = data["cards"] if path == "/cards" else data["deposits"]
    return found


@pytest.mark.parametrize(("path", "body", "other"), CREATES)
def test_the_same_key_and_body_replays_the_first_answer(user: User, path: str, body: Any, other: Any) -> None:
    first = user.call("POST", path, body, headers=KEY)
    assert user.call("POST", path, body, headers=KEY).body == first.body
    assert user.call("POST", path, dict(reversed(list(body.items()))), headers=KEY).body == first.body
    assert len(made(user, path)) == 1


@pytest.mark.parametrize(("path", "body", "other"), CREATES)
def test_the_same_key_with_another_body_is_a_conflict(user: User, path: str, body: Any, other: Any) -> None:
    user.call("POST", path, body, headers=KEY)
    assert user.call("POST", path, other, headers=KEY).error == (409, "idempotency_conflict", None)
    assert len(made(user, path)) == 1


@pytest.mark.parametrize(("path", "body", "other"), CREATES)
def test_without_a_key_or_with_another_one_it_happens_again(user: User, path: str, body: Any, other: Any) -> None:
    for headers in ({}, {}, KEY, {"Idempotency-Key": "another-key"}):
        assert user.call("POST", path, body, headers=headers).status == 200
    assert len(made(user, path)) == 4


def test_a_key_belongs_to_one_user_and_one_operation(partner: Caller, user: User) -> None:
    first = user.call("POST", "/cards", {}, headers=KEY).data
    assert user.call("POST", "/deposits", DEPOSIT, headers=KEY).status == 200
    assert partner.ready_user().call("POST", "/cards", {}, headers=KEY).data["cardId"] != first["cardId"]


@pytest.mark.parametrize("key", ["1234567", "k" * 129, ""])
@pytest.mark.parametrize("path", ["/cards", "/deposits", "/withdrawals"])
def test_a_key_has_8_to_128_characters(user: User, path: str, key: str) -> None:
    body = {"amountCents": 500, "destination": {"currency": "rusd", "network": "base", "address": "0x" + "1" * 40}}
    reply = user.call("POST", path, body if path == "/withdrawals" else DEPOSIT, headers={"Idempotency-Key": key})
    assert reply.error == (400, "invalid_request", "Idempotency-Key")


@pytest.mark.parametrize("key", ["12345678", "k" * 128])
def test_keys_of_both_extreme_lengths_are_taken(user: User, key: str) -> None:
    assert user.call("POST", "/cards", {}, headers={"Idempotency-Key": key}).status == 200


def test_a_refusal_is_not_kept(partner: Caller) -> None:
    user_id = partner.approved_user()
    user = User(user_id, partner.session(user_id), partner)
    assert user.call("POST", "/cards", {}, headers=KEY).status == 409
    user.call("POST", "/agreements", {"accepted": True})
    assert user.call("POST", "/cards", {}, headers=KEY).status == 200


def test_many_at_once_with_one_key_make_one_card(partner: Caller, user: User) -> None:
    def create(_: int) -> str:
        caller = Caller(partner.sandbox)
        try:
            card_id: str = caller.call("POST", "/cards", {}, token=user.token, headers=KEY).data["cardId"]
            return card_id
        finally:
            caller.close()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(24)))) == 1
    assert len(made(user, "/cards")) == 1


@pytest.fixture
def keyless(own_sandbox: Caller) -> Iterator[User]:
    own_sandbox.control("/keys", {"honoured": False})
    yield own_sandbox.funded_user(100)
    own_sandbox.control("/keys", {"honoured": True})


@pytest.mark.parametrize(("path", "body", "other"), CREATES)
def test_keys_that_are_not_honoured_let_each_request_happen(keyless: User, path: str, body: Any, other: Any) -> None:
    before = len(made(keyless, path))
    for content in (body, body, other):
        assert keyless.call("POST", path, content, headers=KEY).status == 200
    assert len(made(keyless, path)) == before + 3
    keyless.caller.control("/keys", {"honoured": True})
    for _ in range(2):
        assert keyless.call("POST", path, body, headers=KEY).status == 200
    assert len(made(keyless, path)) == before + 4


def test_a_withdrawal_is_asked_for_anew_under_a_key_that_is_not_honoured(keyless: User) -> None:
    destination = {"currency": "rusd", "network": "base", "address": "0x" + "1" * 40}
    order = {"amountCents": 500, "destination": destination}
    found = [keyless.call("POST", "/withdrawals", order, headers=KEY).data["status"] for _ in range(3)]
    # The third asking is a withdrawal of its own, which waits for the signature of the first.
    assert found == ["pending", "ready", "pending"]
    (shown,) = (one for one in keyless.caller.control("")["users"] if one["userId"] == keyless.user_id)
    assert (shown["withdrawals"]["pending"], shown["withdrawals"]["ready"]) == (1, 1)


@pytest.mark.parametrize("key", ["1234567", "k" * 129])
def test_a_key_that_is_not_honoured_has_its_length_all_the_same(keyless: User, key: str) -> None:
    reply = keyless.call("POST", "/cards", {}, headers={"Idempotency-Key": key})
    assert reply.error == (400, "invalid_request", "Idempotency-Key")

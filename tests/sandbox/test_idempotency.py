"""A key makes a request happen once."""

from __future__ import annotations

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

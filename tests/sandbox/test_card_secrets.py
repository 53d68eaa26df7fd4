"""Card secrets: encrypted as documented, for one user, for five minutes."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support.sandbox_caller import SandboxClient, User


@pytest.fixture
def user(partner: SandboxClient) -> User:
    return partner.ready_user()


def new_session(user: User) -> tuple[str, bytes]:
    data = user.call("POST", "/cards/secrets/session", {}).data
    return data["sessionId"], bytes.fromhex(data["secretKey"])


def secrets_of(user: User, card_id: str, session_id: object) -> Any:
    return user.call("POST", f"/cards/{card_id}/secrets", {"sessionId": session_id})


def decrypted(sealed: dict[str, str], key: bytes) -> str:
    iv, data = (base64.b64decode(sealed[name], validate=True) for name in ("iv", "data"))
    assert len(iv) == 12
    return AESGCM(key).decrypt(iv, data, None).decode()


def luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def test_number_and_cvc_decrypt_and_match_the_card(user: User) -> None:
    card = user.call("POST", "/cards", {}).data
    session_id, key = new_session(user)
    data = secrets_of(user, card["cardId"], session_id).data
    number, cvc = decrypted(data["encryptedPan"], key), decrypted(data["encryptedCvc"], key)
    assert len(number) == 16
    assert number.startswith("400000")
    assert luhn(number)
    assert number.endswith(card["last4"])
    assert len(cvc) == 3
    assert cvc.isdecimal()
    for name in ("last4", "brand", "expirationMonth", "expirationYear"):
        assert data[name] == card[name]


def test_one_session_serves_several_cards_with_fresh_ivs(user: User) -> None:
    session_id, key = new_session(user)
    cards = [user.new_card(), user.new_card()]
    replies = [secrets_of(user, card_id, session_id).data for card_id in [*cards, cards[0]]]
    numbers = [decrypted(reply["encryptedPan"], key) for reply in replies]
    assert numbers[0] == numbers[2] != numbers[1]
    assert len({reply[name]["iv"] for reply in replies for name in ("encryptedPan", "encryptedCvc")}) == 6
    assert len({reply["keyId"] for reply in replies}) == 1


def test_every_session_has_its_own_key(user: User) -> None:
    card_id = user.new_card()
    (first, _), (_, other_key) = new_session(user), new_session(user)
    with pytest.raises(InvalidTag):
        decrypted(secrets_of(user, card_id, first).data["encryptedPan"], other_key)


def test_session_of_another_user_is_rejected(partner: SandboxClient, user: User) -> None:
    foreign, _ = new_session(partner.ready_user())
    for session_id in (foreign, "unknown", "", None):
        assert secrets_of(user, user.new_card(), session_id).error == (400, "invalid_request", "sessionId")


def test_session_ends_after_five_minutes(own_sandbox: SandboxClient) -> None:
    user = own_sandbox.ready_user()
    card_id, (session_id, _) = user.new_card(), new_session(user)
    own_sandbox.control("/clock", {"advanceSeconds": 290})
    assert secrets_of(user, card_id, session_id).status == 200
    own_sandbox.control("/clock", {"advanceSeconds": 10})
    assert secrets_of(user, card_id, session_id).error == (400, "invalid_request", "sessionId")


def test_locked_card_can_be_revealed_and_closed_card_can_not(user: User) -> None:
    card_id, (session_id, _) = user.new_card(), new_session(user)
    user.call("PATCH", f"/cards/{card_id}", {"status": "locked"})
    assert secrets_of(user, card_id, session_id).status == 200
    user.call("DELETE", f"/cards/{card_id}")
    assert secrets_of(user, card_id, session_id).error == (409, "invalid_state", None)

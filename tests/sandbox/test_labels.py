"""Labels: encrypted under a key per user."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support.sandbox_caller import SandboxClient, User


@pytest.fixture(scope="module")
def user(partner: SandboxClient) -> User:
    return partner.ready_user()


def encrypt(user: User, text: str) -> Any:
    return user.call("POST", "/encryption/encrypt", {"value": text}).data["value"]


@pytest.mark.parametrize("text", ["", "groceries", "Einkäufe 🛒", "x" * 1000, "line\nbreak\x00"])
def test_encrypted_text_can_be_decrypted(user: User, text: str) -> None:
    field = encrypt(user, text)
    assert user.call("POST", "/encryption/decrypt", {"value": field}).data["value"] == text


def test_same_text_encrypts_differently_each_time(user: User) -> None:
    fields = [encrypt(user, "groceries") for _ in range(3)]
    assert len({field["iv"] for field in fields}) == len({field["ct"] for field in fields}) == 3


def test_another_user_can_not_decrypt_it(partner: SandboxClient, user: User) -> None:
    reply = partner.ready_user().call("POST", "/encryption/decrypt", {"value": encrypt(user, "mine")})
    assert reply.error == (400, "invalid_request", "value")


@pytest.mark.parametrize("name", ["iv", "ct"])
def test_modified_label_is_rejected(user: User, name: str) -> None:
    field = encrypt(user, "groceries")
    field[name] = ("B" if field[name][0] == "A" else "A") + field[name][1:]
    assert user.call("POST", "/encryption/decrypt", {"value": field}).error == (400, "invalid_request", "value")


def test_data_key_decrypts_on_the_partners_side(user: User) -> None:
    data = user.call("GET", "/encryption/data-key").data
    field = encrypt(user, "groceries")
    key, iv, ciphertext = (base64.urlsafe_b64decode(text + "==") for text in (data["key"], field["iv"], field["ct"]))
    assert (data["algorithm"], len(key)) == ("A256GCM", 32)
    assert AESGCM(key).decrypt(iv, ciphertext, None) == b"groceries"


def test_too_long_text_is_rejected(user: User) -> None:
    reply = user.call("POST", "/encryption/encrypt", {"value": "x" * 1001})
    assert reply.error == (400, "invalid_request", "value")

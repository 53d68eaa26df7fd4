"""Addresses match their chain's format, including the checksum."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

import pytest

from machines_mcp.sandbox.addresses import new_address, new_memo
from machines_mcp.sandbox.assets import NETWORKS, address_pattern

BITCOIN = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
RIPPLE = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"
SHAPES = {
    "evm": "0x[0-9a-f]{40}",
    "solana": "[1-9A-HJ-NP-Za-km-z]{32,44}",
    "bitcoin": "[mn][1-9A-HJ-NP-Za-km-z]{25,34}",
    "ripple": "r[1-9A-HJ-NP-Za-km-z]{24,34}",
    "stellar": "G[A-Z2-7]{55}",
    "hedera": r"0\.0\.[0-9]{7}",
}


def decoded(text: str, alphabet: str, size: int) -> bytes:
    number = 0
    for letter in text:
        number = number * 58 + alphabet.index(letter)
    return number.to_bytes(size)


@pytest.mark.parametrize("family", SHAPES)
def test_address_matches_its_family_and_is_unique(family: str) -> None:
    made = {new_address(family) for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(SHAPES[family], address) for address in made)


@pytest.mark.parametrize(("family", "alphabet"), [("bitcoin", BITCOIN), ("ripple", RIPPLE)])
def test_base58_address_has_a_valid_checksum(family: str, alphabet: str) -> None:
    for _ in range(50):
        body = decoded(new_address(family), alphabet, 25)
        assert hashlib.sha256(hashlib.sha256(body[:-4]).digest()).digest()[:4] == body[-4:]


def test_stellar_address_has_a_valid_checksum() -> None:
    body = base64.b32decode(new_address("stellar"))
    assert binascii.crc_hqx(body[:-2], 0).to_bytes(2, "little") == body[-2:]


def test_every_network_accepts_its_generated_addresses() -> None:
    for network in NETWORKS.values():
        assert re.fullmatch(address_pattern(network), new_address(network.family))


def test_unknown_family_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown address family"):
        new_address("tron")


def test_memo_is_a_nine_digit_number() -> None:
    assert all(re.fullmatch("[1-9][0-9]{8}", new_memo()) for _ in range(50))

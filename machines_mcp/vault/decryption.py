"""Decrypt the fields of `POST /cards/{cardId}/secrets`: AES-128-GCM, no associated data, the tag at the end.

DecryptionError
└── .fault: Fault        the rule that was broken; never a value

The plaintext exists only in the returned bytearray, so that its owner can wipe it. Wiping is best effort: copies stay
on the C stack until the process ends.
"""

from __future__ import annotations

import binascii
import re
from enum import StrEnum
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from machines_mcp.redaction.secret import Secret

IV_BYTES = 12
TAG_BYTES = 16
MAX_PLAINTEXT_BYTES = 64

_KEY = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)


class DecryptionFault(StrEnum):
    """Why card secrets were rejected: a closed list, safe to show."""

    KEY = "key.malformed"
    IV = "iv.malformed"
    DATA = "data.malformed"
    TAG = "data.unauthentic"
    NUMBER = "number.malformed"
    CHECK_DIGIT = "number.check_digit"
    LAST4 = "number.last4"
    CODE = "code.malformed"


class DecryptionError(Exception):
    """Card secrets that can't be trusted. The text is constant; `fault` is the rule that they broke."""

    def __init__(self, fault: DecryptionFault) -> None:
        super().__init__("the card's secrets were refused")
        self.fault = fault


class EncryptedField(Protocol):
    """One encrypted field as the API sends it: `data` and `iv` in standard base64."""

    @property
    def data(self) -> str: ...

    @property
    def iv(self) -> str: ...


def wipe(buffer: bytearray) -> None:
    """Overwrite a buffer in place with zeros."""
    buffer[:] = bytes(len(buffer))


def decrypt_field(key: Secret, field: EncryptedField) -> bytearray:
    """Decrypt one field into 1 to 64 bytes, which the caller must wipe.

    `key` is the session's `secretKey`: 32 hex characters. The IV is 12 bytes. Raises `DecryptionError` with `KEY`,
    `IV`, `DATA` (not canonical base64, too short or too long) or `TAG` (wrong key, or altered data).
    """
    if not _KEY.fullmatch(key.expose()):
        raise DecryptionError(DecryptionFault.KEY)
    iv = _base64(field.iv, DecryptionFault.IV)
    if len(iv) != IV_BYTES:
        raise DecryptionError(DecryptionFault.IV)
    sealed = _base64(field.data, DecryptionFault.DATA)
    if not TAG_BYTES < len(sealed) <= TAG_BYTES + MAX_PLAINTEXT_BYTES:
        raise DecryptionError(DecryptionFault.DATA)
    return _decrypt(bytearray.fromhex(key.expose()), iv, sealed)


def _decrypt(key: bytearray, iv: bytes, sealed: bytes) -> bytearray:
    plaintext = bytearray(len(sealed) - TAG_BYTES)
    try:
        # New in cryptography 47. `decrypt` returns bytes, which can't be wiped.
        AESGCM(key).decrypt_into(iv, sealed, None, plaintext)
    except InvalidTag:
        wipe(plaintext)
        raise DecryptionError(DecryptionFault.TAG) from None
    finally:
        wipe(key)
    return plaintext


def _base64(text: str, fault: DecryptionFault) -> bytes:
    try:
        raw = binascii.a2b_base64(text)
        # a2b_base64 ignores characters that it doesn't know, so compare with the canonical encoding.
        canonical = binascii.b2a_base64(raw, newline=False) == text.encode("ascii")
    except ValueError:
        canonical = False
    if not canonical:
        raise DecryptionError(fault)
    return raw

"""Opening what `POST /cards/{cardId}/secrets` seals: AES-128-GCM, no associated data, the tag at the end.

SealedError
└── .fault: Fault        which rule was broken; never a value

The plaintext exists only in the bytearray that is handed out, so that its owner can wipe it. Wiping is hygiene, not
proof: copies stay on the C stack, and only the end of the process takes those.
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


class Fault(StrEnum):
    """Why card secrets were refused: a closed list, safe to show."""

    KEY = "key.malformed"
    IV = "iv.malformed"
    DATA = "data.malformed"
    TAG = "data.unauthentic"
    NUMBER = "number.malformed"
    CHECK_DIGIT = "number.check_digit"
    LAST4 = "number.last4"
    CODE = "code.malformed"


class SealedError(Exception):
    """Card secrets that can't be trusted. The text is constant; `fault` says which rule they broke."""

    def __init__(self, fault: Fault) -> None:
        super().__init__("the card's secrets were refused")
        self.fault = fault


class SealedField(Protocol):
    """One encrypted field as the API sends it: `data` and `iv` in standard base64."""

    @property
    def data(self) -> str: ...

    @property
    def iv(self) -> str: ...


def wipe(buffer: bytearray) -> None:
    """Overwrite a buffer in place with zeros."""
    buffer[:] = bytes(len(buffer))


def open_sealed(key: Secret, field: SealedField) -> bytearray:
    """The plaintext of one field, 1 to 64 bytes, which the caller wipes.

    `key` is the session's `secretKey`: 32 hex characters. The IV is 12 bytes. Raises `SealedError` with `KEY`, `IV`,
    `DATA` (not canonical base64, or too short or long) or `TAG` (another key, or altered on the way).
    """
    if not _KEY.fullmatch(key.expose()):
        raise SealedError(Fault.KEY)
    iv = _base64(field.iv, Fault.IV)
    if len(iv) != IV_BYTES:
        raise SealedError(Fault.IV)
    sealed = _base64(field.data, Fault.DATA)
    if not TAG_BYTES < len(sealed) <= TAG_BYTES + MAX_PLAINTEXT_BYTES:
        raise SealedError(Fault.DATA)
    return _decrypt(bytearray.fromhex(key.expose()), iv, sealed)


def _decrypt(key: bytearray, iv: bytes, sealed: bytes) -> bytearray:
    plaintext = bytearray(len(sealed) - TAG_BYTES)
    try:
        # Exists since cryptography 47: `decrypt` of older ones returns bytes, which nobody can wipe.
        AESGCM(key).decrypt_into(iv, sealed, None, plaintext)
    except InvalidTag:
        wipe(plaintext)
        raise SealedError(Fault.TAG) from None
    finally:
        wipe(key)
    return plaintext


def _base64(text: str, fault: Fault) -> bytes:
    try:
        raw = binascii.a2b_base64(text)
        # Lenient decoders pass over what they don't know; there is one spelling per value.
        canonical = binascii.b2a_base64(raw, newline=False) == text.encode("ascii")
    except ValueError:
        canonical = False
    if not canonical:
        raise SealedError(fault)
    return raw

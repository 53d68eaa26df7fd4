"""Sealed secrets, generated at run time so that none is stored in a file."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass

from Crypto.Cipher import AES

KEY_BYTES = 16


@dataclass(frozen=True)
class Sealed:
    data: str
    iv: str


def seal(key_hex: str, plaintext: bytes, *, iv_bytes: int = 12) -> Sealed:
    """Encrypt a plaintext as the API does, with a different AES implementation than the one under test."""
    iv = os.urandom(iv_bytes)
    ciphertext, tag = AES.new(bytes.fromhex(key_hex), AES.MODE_GCM, nonce=iv).encrypt_and_digest(plaintext)
    return Sealed(encode(ciphertext + tag), encode(iv))


def unseal(key_hex: str, data: str, iv: str) -> str:
    """Decrypt a field with that other implementation."""
    raw = base64.b64decode(data)
    cipher = AES.new(bytes.fromhex(key_hex), AES.MODE_GCM, nonce=base64.b64decode(iv))
    return cipher.decrypt_and_verify(raw[:-16], raw[-16:]).decode()


def encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def new_key() -> str:
    return os.urandom(KEY_BYTES).hex()

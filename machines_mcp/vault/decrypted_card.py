"""Provide a card's decrypted number and CVC for the duration of a `with` block."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from machines_mcp.redaction.luhn import passes_luhn
from machines_mcp.redaction.secret import Secret
from machines_mcp.vault.decryption import DecryptionError, DecryptionFault, EncryptedField, decrypt_field, wipe


@dataclass(frozen=True, repr=False, eq=False)
class DecryptedCard:
    """The number (13 to 19 ASCII digits) and the CVC (3 or 4), in buffers that are wiped when the block ends."""

    number: bytearray
    cvc: bytearray


@contextmanager
def decrypt_card(key: Secret, number: EncryptedField, code: EncryptedField, last4: str) -> Iterator[DecryptedCard]:
    """Decrypt and check both fields of a card. `last4` comes from the card record.

    Raises `DecryptionError` before the block is entered if a field can't be decrypted or isn't this card's.
    """
    clear_number = decrypt_field(key, number)
    try:
        _check_number(clear_number, last4)
        clear_code = decrypt_field(key, code)
        try:
            _check_cvc(clear_code)
            yield DecryptedCard(clear_number, clear_code)
        finally:
            wipe(clear_code)
    finally:
        wipe(clear_number)


def _check_number(number: bytearray, last4: str) -> None:
    if not (13 <= len(number) <= 19 and number.isdigit()):
        raise DecryptionError(DecryptionFault.NUMBER)
    if not passes_luhn(number):
        raise DecryptionError(DecryptionFault.CHECK_DIGIT)
    # This session's key also decrypts other cards' numbers. Only the record tells them apart.
    if not hmac.compare_digest(number[-4:], last4.encode()):
        raise DecryptionError(DecryptionFault.LAST4)


def _check_cvc(code: bytearray) -> None:
    if not (3 <= len(code) <= 4 and code.isdigit()):
        raise DecryptionError(DecryptionFault.CODE)

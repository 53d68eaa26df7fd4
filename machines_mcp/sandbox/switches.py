"""Switches of the simulator that the control sets."""

from __future__ import annotations

import base64
from typing import Final

SALT_FORMS: Final = ("base64", "hex", "bytes")
TEXT_PLACES: Final = ("merchant", "label", "kyc_reason", "agreement", "asset")
MAX_TEXT: Final = 8192


class Keys:
    """Whether keys are honored. The default is yes; the control can change it."""

    def __init__(self) -> None:
        self.honoured = True


class Salts:
    """How withdrawals write their salts: one of `SALT_FORMS`. All three are seen in the issuer's and clients' code."""

    def __init__(self) -> None:
        self.form = SALT_FORMS[0]

    def written(self, salt: bytes) -> str | list[int]:
        """Return a salt in this form."""
        if self.form == "bytes":
            return list(salt)
        return f"0x{salt.hex()}" if self.form == "hex" else base64.b64encode(salt).decode()


class Texts:
    """What responses say at a place of `TEXT_PLACES` instead of their own text, for every user."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def set(self, place: str, text: str) -> None:
        """Say `text` there from now on. If it is empty, say the own text again."""
        self._said.pop(place, None)
        if text:
            self._said[place] = text

    def at(self, place: str) -> str | None:
        """Return the text of a place, or None if it has its own."""
        return self._said.get(place)

    def view(self) -> dict[str, int]:
        """Return the length of each text that is set."""
        return {place: len(text) for place, text in self._said.items()}

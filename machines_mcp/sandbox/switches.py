"""Switches of the simulator that the control sets."""

from __future__ import annotations

import base64
from typing import Final

SALT_FORMS: Final = ("base64", "hex", "bytes")


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

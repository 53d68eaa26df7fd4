"""Labels: text encrypted with AES-256-GCM under the user's data key, as the API's `EncryptedField`."""

from __future__ import annotations

import base64
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from machines_mcp.sandbox.envelope import Success

if TYPE_CHECKING:
    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.fields import Fields
    from machines_mcp.sandbox.state import State

VERSION: Final = 1
_IV_PATTERN: Final = r"[A-Za-z0-9_-]{16}"
_CT_PATTERN: Final = r"[A-Za-z0-9_-]{22,}"
_MAX_TEXT: Final = 1000
# The longest text of the control, in UTF-8 with its tag.
_MAX_CIPHERTEXT: Final = 45_000
_MAX_READABLE: Final = 60
# As many digits as a card number may have, with any separators.
_LONG_NUMBER: Final = re.compile(r"\d(?:[\W_]*\d){11,}")


def encrypt(call: Call) -> Success:
    """POST /encryption/encrypt."""
    text = call.body().text("value", least=0, most=_MAX_TEXT)
    return Success({"value": encrypted(call.state, call.user.user_id, text)}, "encrypted")


def decrypt(call: Call) -> Success:
    """POST /encryption/decrypt: 400 if this user's key can't decrypt the value."""
    fields = call.body()
    field = encrypted_field(fields, "value")
    try:
        clear = _open(call.state, call.user.user_id, field)
    except (InvalidTag, ValueError):
        fields.refuse("value", "must be encrypted under the data key of this user")
    return Success({"value": clear}, "decrypted")


def read_data_key(call: Call) -> Success:
    """GET /encryption/data-key."""
    return Success(
        {"v": VERSION, "algorithm": "A256GCM", "key": _encode(_data_key(call.state, call.user.user_id))}, "data key"
    )


def encrypted(state: State, user_id: str, text: str) -> dict[str, Any]:
    """Return a text as the user's `EncryptedField`."""
    iv = secrets.token_bytes(12)
    sealed = AESGCM(_data_key(state, user_id)).encrypt(iv, text.encode(), None)
    return {"v": VERSION, "iv": _encode(iv), "ct": _encode(sealed)}


def readable(state: State, user_id: str, field: dict[str, Any] | None) -> str | None:
    """Return a label for the control's page: its first 60 characters, without long numbers.

    None if there is none, or if this user's key can't decrypt it.
    """
    if field is None:
        return None
    try:
        clear = _open(state, user_id, field)
    except (InvalidTag, ValueError):
        return None
    text = _LONG_NUMBER.sub("…", clear)
    return text if len(text) <= _MAX_READABLE else f"{text[: _MAX_READABLE - 1]}…"


def encrypted_field(fields: Fields, name: str) -> dict[str, Any]:
    """Return a required `EncryptedField`. Only its shape is checked, not whether it can be decrypted."""
    field = fields.child(name)
    return {
        "v": field.integer("v", least=VERSION, most=VERSION),
        "iv": field.text("iv", pattern=_IV_PATTERN),
        "ct": field.text("ct", most=_MAX_CIPHERTEXT, pattern=_CT_PATTERN),
    }


def _open(state: State, user_id: str, field: dict[str, Any]) -> str:
    return AESGCM(_data_key(state, user_id)).decrypt(_decode(field["iv"]), _decode(field["ct"]), None).decode()


def _data_key(state: State, user_id: str) -> bytes:
    row = state.row("SELECT data_key FROM users WHERE user_id = ?", user_id)
    if row is None:
        raise LookupError("the user of a live session is missing")
    return bytes.fromhex(state.unseal(row["data_key"], "data key"))


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

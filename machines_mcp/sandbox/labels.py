"""Labels: text encrypted with AES-256-GCM under the user's data key, as the API's `EncryptedField`."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from machines_mcp.sandbox.envelope import Success

if TYPE_CHECKING:
    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.fields import Fields

VERSION: Final = 1
_IV_PATTERN: Final = r"[A-Za-z0-9_-]{16}"
_CT_PATTERN: Final = r"[A-Za-z0-9_-]{22,}"
_MAX_TEXT: Final = 1000
_MAX_CIPHERTEXT: Final = 6000


def encrypt(call: Call) -> Success:
    """POST /encryption/encrypt."""
    text = call.body().text("value", least=0, most=_MAX_TEXT)
    iv = secrets.token_bytes(12)
    sealed = AESGCM(_data_key(call)).encrypt(iv, text.encode(), None)
    return Success({"value": {"v": VERSION, "iv": _encode(iv), "ct": _encode(sealed)}}, "encrypted")


def decrypt(call: Call) -> Success:
    """POST /encryption/decrypt: 400 if this user's key can't decrypt the value."""
    fields = call.body()
    field = encrypted_field(fields, "value")
    try:
        clear = AESGCM(_data_key(call)).decrypt(_decode(field["iv"]), _decode(field["ct"]), None)
    except (InvalidTag, ValueError):
        fields.refuse("value", "must be encrypted under the data key of this user")
    return Success({"value": clear.decode()}, "decrypted")


def read_data_key(call: Call) -> Success:
    """GET /encryption/data-key."""
    return Success({"v": VERSION, "algorithm": "A256GCM", "key": _encode(_data_key(call))}, "data key")


def encrypted_field(fields: Fields, name: str) -> dict[str, Any]:
    """Return a required `EncryptedField`. Only its shape is checked, not whether it can be decrypted."""
    field = fields.child(name)
    return {
        "v": field.integer("v", least=VERSION, most=VERSION),
        "iv": field.text("iv", pattern=_IV_PATTERN),
        "ct": field.text("ct", most=_MAX_CIPHERTEXT, pattern=_CT_PATTERN),
    }


def _data_key(call: Call) -> bytes:
    row = call.state.row("SELECT data_key FROM users WHERE user_id = ?", call.user.user_id)
    if row is None:
        raise LookupError("the user of a live session is missing")
    return bytes.fromhex(call.state.unseal(row["data_key"], "data key"))


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

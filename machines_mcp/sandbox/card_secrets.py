"""Card secrets, encrypted with AES-128-GCM under the key of a short secrets session."""

from __future__ import annotations

import base64
import hashlib
import secrets
import uuid
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from machines_mcp.sandbox import cards
from machines_mcp.sandbox.envelope import Success, conflict

if TYPE_CHECKING:
    from machines_mcp.sandbox.call import Call

SESSION_SECONDS: Final = 300
_SEALED_AS: Final = "secrets session key"


def open_session(call: Call) -> Success:
    """POST /cards/secrets/session: valid for all of the user's cards for five minutes."""
    call.body()
    session_id, key = str(uuid.uuid4()), secrets.token_hex(16)
    call.state.insert(
        "secrets_sessions",
        session_id=session_id,
        user_id=call.user.user_id,
        secret_key=call.state.seal(key, _SEALED_AS),
        expires_at=call.now + SESSION_SECONDS,
    )
    return Success({"sessionId": session_id, "secretKey": key}, "secrets session created")


def read(call: Call) -> Success:
    """POST /cards/{cardId}/secrets."""
    card = cards.find(call, call.named("cardId"))
    session_id, key = _session(call)
    if card["status"] == "canceled":
        raise conflict("card is canceled")
    number, cvc = call.state.unseal(card["number_and_cvc"], cards.SEALED_AS).split(" ")
    data = {
        "encryptedPan": _encrypt(key, number),
        "encryptedCvc": _encrypt(key, cvc),
        "expirationMonth": card["expiration_month"],
        "expirationYear": card["expiration_year"],
        "last4": card["last4"],
        "brand": cards.BRAND,
        "keyId": hashlib.sha256(session_id.encode()).hexdigest()[:16],
    }
    return Success(data, "card secrets")


def _session(call: Call) -> tuple[str, bytes]:
    """Return id and key of the secrets session in the body; 400 unless it is live and this user's."""
    fields = call.body()
    session_id = fields.text("sessionId", most=200)
    row = call.state.row(
        "SELECT * FROM secrets_sessions WHERE session_id = ? AND user_id = ? AND expires_at > ?",
        *(session_id, call.user.user_id, call.now),
    )
    if row is None:
        fields.refuse("sessionId", "must be a live secrets session of this user")
    return session_id, bytes.fromhex(call.state.unseal(row["secret_key"], _SEALED_AS))


def _encrypt(key: bytes, clear: str) -> dict[str, str]:
    iv = secrets.token_bytes(12)
    sealed = AESGCM(key).encrypt(iv, clear.encode(), None)
    return {"data": base64.b64encode(sealed).decode(), "iv": base64.b64encode(iv).decode()}

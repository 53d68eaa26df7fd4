"""Parse the public key that cards are sealed to: a JWK (RFC 7517) with only public fields."""

import base64
import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MAX_KEY_BYTES = 4 * 1024

_COORDINATE = Field(pattern=r"^[A-Za-z0-9_-]{43,88}$")
# Metadata that a key may contain. Sealing doesn't use it.
_NOTES = ("kid", "use", "alg", "key_ops")
_PRIVATE = ("d", "k", "p", "q", "dp", "dq", "qi", "oth")


class RecipientError(ValueError):
    """The file is not a public key to seal to. The text says why, without any value from the file."""


class _Key(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, defer_build=True)


class EllipticKey(_Key):
    """A point on a NIST curve."""

    kty: Literal["EC"]
    crv: Literal["P-256", "P-384", "P-521"]
    x: str = _COORDINATE
    y: str = _COORDINATE


class MontgomeryKey(_Key):
    """A point on Curve25519."""

    kty: Literal["OKP"]
    crv: Literal["X25519"]
    x: str = _COORDINATE


Recipient = Annotated[EllipticKey | MontgomeryKey, Field(discriminator="kty")]


def thumbprint(text: bytes | str) -> str:
    """Return the thumbprint of the public key in a JWK: RFC 7638 with SHA-256, base64url.

    Raises:
        RecipientError: As for `read_recipient`.
    """
    required = json.dumps(read_recipient(text).model_dump(), sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(required.encode()).digest()).rstrip(b"=").decode()


def read_recipient(text: bytes | str) -> EllipticKey | MontgomeryKey:
    """Parse the public key in a JWK.

    Raises:
        RecipientError: It is a private key, or not one that a card can be sealed to.
    """
    if len(text) > MAX_KEY_BYTES:
        raise RecipientError("it is too long for a key")
    try:
        fields: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise RecipientError("it is not JSON") from None
    if not isinstance(fields, dict):
        raise RecipientError("it is not a single JWK")
    if any(name in fields for name in _PRIVATE):
        raise RecipientError("it is a private key; use the .pub file next to it, and keep the private key elsewhere")
    public = {name: value for name, value in fields.items() if name not in _NOTES}
    adapter: TypeAdapter[EllipticKey | MontgomeryKey] = TypeAdapter(Recipient)
    try:
        return adapter.validate_python(public)
    except ValidationError:
        raise RecipientError("it is not a public JWK of kty EC (P-256, P-384, P-521) or OKP (X25519)") from None

"""Operator functions for the sink `sealed`: make a key pair, and decrypt cards sealed to it.

Keep the private key off the server, on the machine of the person who may see cards.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from machines_mcp.vault.jwe_sink import ALGORITHM, ENCRYPTION
from machines_mcp.vault.public_key import MAX_KEY_BYTES

MAX_JWE_BYTES = 8 * 1024


class KeyPairError(Exception):
    """A key or sealed card can't be used. The message says why, and what to do."""


class UnsealedCard(BaseModel):
    """The content of a sealed card."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)

    pan: str = Field(pattern=r"^[0-9]{13,19}$", repr=False)
    cvc: str = Field(pattern=r"^[0-9]{3,4}$", repr=False)
    expiration_month: Annotated[int, Field(ge=1, le=12)]
    expiration_year: Annotated[int, Field(ge=2000, le=2199)]
    brand: Annotated[str, Field(pattern=r"^[A-Z ]{1,20}$")] | None
    card_id: str = Field(pattern=r"^[A-Za-z0-9_-]{8,128}$")


def make_key_pair(file: Path) -> Path:
    """Write a new private JWK (P-256) to `file` (0600) and its public half to `file`.pub; return the latter.

    Raises:
        KeyPairError: One of the files exists, or can't be written.
    """
    public = file.with_name(f"{file.name}.pub")
    key = ECKey.generate_key("P-256", private=True)
    notes = {"kid": key.thumbprint(), "use": "enc", "alg": ALGORITHM}
    _write(file, json.dumps(key.as_dict(private=True) | notes), 0o600)
    try:
        _write(public, json.dumps(key.as_dict(private=False) | notes), 0o644)
    except KeyPairError:
        file.unlink(missing_ok=True)
        raise
    return public


def unseal(file: Path, token: str) -> UnsealedCard:
    """Decrypt the card in a compact JWE with the private key in `file`.

    Raises:
        KeyPairError: `file` contains no private key, or `token` was not sealed to it or contains no card.
    """
    key = _private_key(file)
    if len(token) > MAX_JWE_BYTES or not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*){4}", token):
        raise KeyPairError("This is not a compact JWE: five parts of letters, digits, - and _, separated by dots.")
    try:
        content = jwe.decrypt_compact(token, key, algorithms=[ALGORITHM, ENCRYPTION]).plaintext
    except (JoseError, ValueError):
        raise KeyPairError("This key can't decrypt it. It was sealed to another key, or changed on the way.") from None
    try:
        return UnsealedCard.model_validate_json(content or b"")
    except ValidationError:
        raise KeyPairError("It was sealed to this key, but does not contain a card.") from None


def _private_key(file: Path) -> ECKey | OKPKey:
    try:
        with file.open("rb") as opened:
            fields = json.loads(opened.read(MAX_KEY_BYTES))
        key: ECKey | OKPKey = ECKey.import_key(fields) if fields["kty"] == "EC" else OKPKey.import_key(fields)
    except OSError:
        raise KeyPairError("The key file can't be read.") from None
    except (JoseError, ValueError, KeyError, TypeError):
        raise KeyPairError("The key file does not contain a JWK of kty EC or OKP.") from None
    if not key.is_private:
        raise KeyPairError("The key file contains a public key. Use the private one, without .pub.")
    return key


def _exists(path: Path) -> KeyPairError:
    return KeyPairError(f"{path.name} exists and was not overwritten. Choose another file, or move it away.")


def _write(path: Path, text: str, mode: int) -> None:
    try:
        # Never overwrite an existing key or the target of a link.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:
        raise KeyPairError(f"{path.name} can't be written there.") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        if os.name == "posix":
            os.fchmod(descriptor, mode)
        opened.write(text + "\n")
        opened.flush()
        os.fsync(opened.fileno())

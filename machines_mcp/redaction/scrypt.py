"""Check a passphrase against its scrypt key (RFC 7914), which does not contain it."""

from __future__ import annotations

import hashlib
import hmac

from machines_mcp.redaction.secret import Secret

KEY_BYTES = 32
# With n = 2**15 and r = 8, a guess takes 32 MiB and about 0.1 s.
N, R, P = 2**15, 8, 1
_MAX_MEMORY = 128 * 1024 * 1024


def derive_key(passphrase: Secret, salt: bytes, *, n: int = N, r: int = R, p: int = P) -> bytes:
    """Return the key of a passphrase. Takes about 0.1 s: don't call it on the event loop."""
    # Terminal input that could not be decoded arrives as lone surrogates, which can't be encoded.
    raw = passphrase.expose().encode(errors="replace")
    return hashlib.scrypt(raw, salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=KEY_BYTES)


def has_key(passphrase: Secret, salt: str, key: str, *, n: int = N, r: int = R, p: int = P) -> bool:
    """Return whether the passphrase has this key; salt and key are in hex. Takes about 0.1 s, too."""
    return hmac.compare_digest(derive_key(passphrase, bytes.fromhex(salt), n=n, r=r, p=p), bytes.fromhex(key))

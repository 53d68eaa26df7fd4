"""The keys of a state folder: created at first use, readable only by this user."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from machines_mcp.storage.database import StoreUnavailable, private_folder

KEY_BYTES = 32


def state_key(folder: Path, name: str) -> bytes:
    """Return the 32-byte key `name` of this state folder, creating it if needed.

    Raises:
        StoreUnavailable: The key can't be created or read, or the file is not a key.
    """
    try:
        private_folder(folder / "keys")
        path = folder / "keys" / f"{name}.key"
        try:
            return _read(path)
        except FileNotFoundError:
            return _make(path)
    except OSError:
        raise StoreUnavailable from None


def _make(path: Path) -> bytes:
    # Write a complete draft, then link it into place, so that servers that start together get the same key.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
    return _read(path)


def _read(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise StoreUnavailable
    return key

"""The keys of a state folder: made at its first use, readable by this user alone."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from machines_mcp.storage.database import StoreUnavailable, private_folder

KEY_BYTES = 32


def state_key(folder: Path, name: str) -> bytes:
    """The 32-byte key `name` of this state folder.

    Raises:
        StoreUnavailable: It can't be made or read, or the file is not a key.
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
    # Written whole beside its place and linked in: of two servers that start at once, one key wins for both.
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

"""The keys of a state folder: created at first use, readable only by this user."""

from __future__ import annotations

import secrets
from pathlib import Path

from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.files import create_atomically
from machines_mcp.storage.private_folder import NotPrivate, check_private, private_folder

KEY_BYTES = 32


def state_key(folder: Path, name: str) -> bytes:
    """Return the 32-byte key `name` of this state folder, creating it if needed.

    Raises:
        StoreUnavailable: The key can't be created or read, or the file is not a key.
    """
    try:
        private_folder(folder)
        private_folder(folder / "keys")
        path = folder / "keys" / f"{name}.key"
        check_private(path)
        try:
            return _read(path)
        except FileNotFoundError:
            # Servers that start together get the same key: only the first one is created.
            create_atomically(path, secrets.token_bytes(KEY_BYTES))
            return _read(path)
    except NotPrivate as error:
        raise StoreUnavailable(f"The state folder can't be used. {error}") from None
    except OSError:
        raise StoreUnavailable from None


def _read(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise StoreUnavailable
    return key

"""The person's passphrase: what tells them from a program that can also press a button.

Only a verifier is kept (scrypt, RFC 7914), in a file of the state folder's `keys`, 0600. Wrong tries are counted in the
database, so that several processes share one count: five within 15 minutes lock it for as long.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio.to_thread

from machines_mcp.guard.store import Store, StoreUnavailable, private_folder
from machines_mcp.secret import Secret

if TYPE_CHECKING:
    import sqlite3

MIN_LENGTH = 8
MAX_LENGTH = 200
MAX_TRIES = 5
LOCK_SECONDS = 15 * 60

# 32 MiB and a tenth of a second per guess.
_N, _R, _P, _SALT_BYTES, _KEY_BYTES = 2**15, 8, 1, 16, 32
_MEMORY = 64 * 1024 * 1024

Answer = Literal["right", "wrong", "locked", "unset"]


@dataclass(frozen=True, slots=True)
class Verifier:
    """Checks a passphrase without knowing it. `set_at` is in seconds since the epoch."""

    salt: str
    key: str
    set_at: float

    def matches(self, passphrase: Secret) -> bool:
        """Whether this is the passphrase. Takes a tenth of a second: not for the event loop."""
        return hmac.compare_digest(_derive(passphrase, bytes.fromhex(self.salt)), bytes.fromhex(self.key))


class Passphrase:
    """The passphrase of one state folder. Times are seconds since the epoch by `clock`."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._path = store.folder / "keys" / "passphrase.json"

    async def is_set(self) -> bool:
        """Whether there is one."""
        return await self.verifier() is not None

    async def verifier(self) -> Verifier | None:
        """What checks it; None where none is set.

        Raises:
            StoreUnavailable: The file can't be read, or is no verifier.
        """
        return await anyio.to_thread.run_sync(self.read_verifier)

    def read_verifier(self) -> Verifier | None:
        """`verifier` for a caller without an event loop.

        Raises:
            StoreUnavailable: The file can't be read, or is no verifier.
        """
        try:
            return Verifier(**json.loads(self._path.read_text(encoding="ascii")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            raise StoreUnavailable from None

    async def check(self, passphrase: Secret) -> Answer:
        """Whether it is right; a wrong one counts, and while locked even the right one is not looked at."""
        verifier = await self.verifier()
        if verifier is None:
            return "unset"
        if await self.locked():
            return "locked"
        right = await anyio.to_thread.run_sync(verifier.matches, passphrase)
        return "right" if right else await self.count_wrong()

    async def locked(self) -> bool:
        """Whether there were five wrong tries in the last 15 minutes."""
        return await self._store.read(self._locked)

    async def count_wrong(self) -> Literal["wrong", "locked"]:
        """Count a wrong try; `locked` where it was one too many."""

        def work(db: sqlite3.Connection) -> Literal["wrong", "locked"]:
            now = self._clock()
            db.execute("DELETE FROM passphrase_tries WHERE at <= ?", (now - LOCK_SECONDS,))
            db.execute("INSERT INTO passphrase_tries (at) VALUES (?)", (now,))
            return "locked" if self._locked(db) else "wrong"

        return await self._store.run(work)

    async def set(self, passphrase: Secret) -> None:
        """Keep a verifier of this passphrase, in place of any before.

        Raises:
            ValueError: It is shorter than 8 or longer than 200 characters.
            StoreUnavailable: It can't be written.
        """
        if not MIN_LENGTH <= len(passphrase.expose()) <= MAX_LENGTH:
            raise ValueError(f"a passphrase has {MIN_LENGTH} to {MAX_LENGTH} characters")
        salt = secrets.token_bytes(_SALT_BYTES)
        key = await anyio.to_thread.run_sync(_derive, passphrase, salt)
        fields = {"salt": salt.hex(), "key": key.hex(), "set_at": self._clock()}
        try:
            private_folder(self._path.parent)
            _replace(self._path, json.dumps(fields))
        except OSError:
            raise StoreUnavailable from None

    def _locked(self, db: sqlite3.Connection) -> bool:
        since = self._clock() - LOCK_SECONDS
        tries: int = db.execute("SELECT count(*) FROM passphrase_tries WHERE at > ?", (since,)).fetchone()[0]
        return tries >= MAX_TRIES


def _derive(passphrase: Secret, salt: bytes) -> bytes:
    raw = passphrase.expose().encode()
    return hashlib.scrypt(raw, salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY, dklen=_KEY_BYTES)


def _replace(path: Path, text: str) -> None:
    """Whole or not at all: a power cut must not leave half a verifier."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise

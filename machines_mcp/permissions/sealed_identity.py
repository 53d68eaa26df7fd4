"""Masked identity data beside waiting approvals, encrypted so that every process of the state folder can show it.

The statement that decides an approval also erases it, and so does its expiry. The key has no other purpose.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from machines_mcp.permissions import approval_rows
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import Detail
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.state_keys import state_key

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store

_NONCE_BYTES = 12
_UNREADABLE = Detail("Identity data", "can't be shown: this state folder's key has changed")


class SealedIdentity:
    """Seals, opens and erases the masked identity data of one state folder."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def seal(self, approval_id: str, details: Sequence[Detail]) -> bytes | None:
        """Return the details encrypted for this approval (AES-256-GCM); None if there are none.

        Raises:
            StoreUnavailable: The key can't be created or read.
        """
        if not details:
            return None
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE_BYTES)
        text = json.dumps([asdict(item) for item in details]).encode()
        return nonce + AESGCM(self._key()).encrypt(nonce, text, approval_id.encode())

    def details(self, approval: Approval) -> tuple[Detail, ...]:
        """Return the masked identity data of a waiting approval, for a person. Never for a tool's result.

        Raises:
            StoreUnavailable: The key can't be created or read.
        """
        if approval.sealed is None or approval.state != "waiting" or approval.expires_at <= self._clock():
            return ()
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce, sealed = approval.sealed[:_NONCE_BYTES], approval.sealed[_NONCE_BYTES:]
        try:
            text = AESGCM(self._key()).decrypt(nonce, sealed, approval.id.encode())
        except (InvalidTag, ValueError):
            return (_UNREADABLE,)
        return tuple(Detail(**item) for item in json.loads(text))

    def erase_expired(self, db: sqlite3.Connection) -> None:
        """Erase the data of approvals that nobody decided in time, inside the caller's transaction."""
        if approval_rows.erase_expired(db, self._clock()):
            self._store.at_end(self._empty_log)

    def erase_with(self, db: sqlite3.Connection, approval_id: str) -> None:
        """Let nothing of the data remain in the database's log, if the caller's transaction decides this approval."""
        if approval_rows.is_sealed(db, approval_id):
            self._store.at_end(self._empty_log)

    def erase_later(self, seconds: float) -> None:
        """Erase expired data after `seconds`, unless this process has ended by then. The next one erases it, too."""
        # The loop's clock and the system's may differ by a little.
        asyncio.get_running_loop().call_later(seconds + 1, self._erase_now)

    async def erase_leftovers(self) -> None:
        """Erase expired data, and the other data of earlier processes when it expires.

        Raises:
            StoreUnavailable: The state folder can't be used.
        """
        await self._store.run(self.erase_expired)
        for expires_at in await self._store.read(approval_rows.sealed_until):
            self.erase_later(max(0.0, expires_at - self._clock()))

    def _erase_now(self) -> None:
        with suppress(StoreUnavailable):
            self._store.post(self.erase_expired)

    @staticmethod
    def _empty_log(db: sqlite3.Connection, committed: bool) -> None:
        import sqlite3

        # The write-ahead log still has the pages as they were. Another process that is reading prevents this.
        with suppress(sqlite3.Error):
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _key(self) -> bytes:
        return state_key(self._store.folder, "approver-identity")

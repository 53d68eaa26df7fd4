"""The head of the audit's chain: what shows, kept elsewhere, that the newest rows were dropped."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from machines_mcp.storage.database import StoreUnavailable

if TYPE_CHECKING:
    import sqlite3

logger = logging.getLogger(__name__)

GENESIS = hashlib.sha256(b"machines-mcp audit").digest()
"""Stands before the first row where the others have the mac of the row before."""

MAX_FILE = 1000
_MAC = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The newest row as it was at some time: its number (0: there was none), its mac in hex, its time."""

    seq: int
    mac: str
    at: float

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """What `write` left there.

        Raises:
            OSError: It can't be read.
            ValueError: It is no head.
        """
        with path.open(encoding="ascii") as file:
            text = file.read(MAX_FILE)
        with suppress(RecursionError):
            match json.loads(text):
                case {"seq": int(seq), "mac": str(mac), "at": int() | float() as at} if _is_head(seq, mac):
                    return cls(seq, mac, at)
        raise ValueError("no head of an audit")

    def write(self, path: Path) -> None:
        """Put it in place of any before, whole or not at all, for this user alone.

        Raises:
            OSError: It can't be written.
        """
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(asdict(self), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


EMPTY = Checkpoint(0, GENESIS.hex(), 0.0)
"""The head of a chain without rows."""


def newest(db: sqlite3.Connection) -> Checkpoint:
    """The head of the chain as it stands, unverified.

    Raises:
        StoreUnavailable: Its mac is no bytes, so that nothing can be chained to it.
    """
    row = db.execute("SELECT seq, mac, at FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    if row is None:
        return EMPTY
    if not isinstance(row[1], bytes):
        raise StoreUnavailable("the newest row of the audit is none of ours")
    return Checkpoint(row[0], row[1].hex(), row[2])


def holds(db: sqlite3.Connection, checkpoint: Checkpoint) -> bool:
    """Whether the row that the head speaks of is in the chain, unverified."""
    if checkpoint.seq == 0:
        return True
    row = db.execute("SELECT mac FROM audit WHERE seq = ?", (checkpoint.seq,)).fetchone()
    return row is not None and isinstance(row[0], bytes) and hmac.compare_digest(row[0].hex(), checkpoint.mac)


def publish(db: sqlite3.Connection, path: Path) -> bool:
    """Bring the head that is kept there up to date; False where that can't be done, which the log says.

    Where what is kept is not of this chain, the chain was cut, and it is left as it is: it is the proof.
    """
    import sqlite3

    try:
        # Under the write lock, so that of two servers none puts back the head of the other.
        db.execute("BEGIN IMMEDIATE")
        try:
            if path.exists() and not holds(db, Checkpoint.read(path)):
                logger.error("the head of the audit is not of this chain; run machines-mcp audit verify")
                return False
            newest(db).write(path)
        finally:
            db.execute("ROLLBACK")
    except (sqlite3.Error, OSError, ValueError, StoreUnavailable):
        logger.error("the head of the audit could not be written")
        return False
    return True


def _is_head(seq: int, mac: str) -> bool:
    return 0 <= seq < 2**63 and _MAC.fullmatch(mac) is not None

"""A checkpoint of the audit chain. Keep a copy elsewhere to detect that the newest rows were deleted."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.files import write_atomically

if TYPE_CHECKING:
    import sqlite3

logger = logging.getLogger(__name__)

GENESIS = hashlib.sha256(b"machines-mcp audit").digest()
"""The value that the first row is chained to, in place of a previous MAC."""

MAX_FILE = 1000
MAC_PREFIX = 8
"""How many bytes of each pruned row's MAC are kept."""
_MAC = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The newest row at some moment: its number (0 if there was none), its MAC in hex, and its time."""

    seq: int
    mac: str
    at: float

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint that `write` stored.

        Raises:
            OSError: The file can't be read.
            ValueError: The file is not a checkpoint.
        """
        with path.open(encoding="ascii") as file:
            text = file.read(MAX_FILE)
        with suppress(RecursionError):
            match json.loads(text):
                case {"seq": int(seq), "mac": str(mac), "at": int() | float() as at} if _is_head(seq, mac):
                    return cls(seq, mac, at)
        raise ValueError("not an audit checkpoint")

    def write(self, path: Path) -> None:
        """Write the checkpoint atomically, replacing any previous one. Only this user can read it.

        Raises:
            OSError: The file can't be written.
        """
        write_atomically(path, json.dumps(asdict(self)).encode("ascii"))


EMPTY = Checkpoint(0, GENESIS.hex(), 0.0)
"""The checkpoint of a chain without rows."""


def newest(db: sqlite3.Connection) -> Checkpoint:
    """Return the current checkpoint of the chain, unverified.

    Raises:
        StoreUnavailable: The newest MAC is not bytes, so no row can be chained to it.
    """
    row = db.execute("SELECT seq, mac, at FROM audit WHERE seq = (SELECT max(seq) FROM audit)").fetchone()
    if row is None:
        return EMPTY
    if not isinstance(row[1], bytes):
        raise StoreUnavailable("The newest audit row was not written by machines-mcp. Run machines-mcp audit verify.")
    return Checkpoint(row[0], row[1].hex(), row[2])


def holds(db: sqlite3.Connection, checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint's row is in the chain or was pruned, unverified."""
    if checkpoint.seq == 0:
        return True
    row = db.execute("SELECT mac FROM audit WHERE seq = ?", (checkpoint.seq,)).fetchone()
    if row is not None:
        return isinstance(row[0], bytes) and hmac.compare_digest(row[0].hex(), checkpoint.mac)
    within = (
        "SELECT substr(macs, ? * (? - first) + 1, ?) FROM audit_pruned"
        " WHERE first = (SELECT max(first) FROM audit_pruned WHERE first <= ?) AND last >= ?"
    )
    pruned = db.execute(within, (MAC_PREFIX, checkpoint.seq, MAC_PREFIX, checkpoint.seq, checkpoint.seq)).fetchone()
    return pruned is not None and hmac.compare_digest(pruned[0].hex(), checkpoint.mac[: 2 * MAC_PREFIX])


def publish(db: sqlite3.Connection, path: Path) -> bool:
    """Update the stored checkpoint. Returns False and logs an error if that fails.

    If the stored checkpoint is not of this chain, the chain was cut. The file is left unchanged, as evidence.
    """
    import sqlite3

    try:
        # Hold the write lock, so that no server replaces another's newer checkpoint with an older one.
        db.execute("BEGIN IMMEDIATE")
        try:
            if path.exists() and not holds(db, Checkpoint.read(path)):
                logger.error("the audit checkpoint does not match the chain; run machines-mcp audit verify")
                return False
            newest(db).write(path)
        finally:
            db.execute("ROLLBACK")
    except (sqlite3.Error, OSError, ValueError, StoreUnavailable):
        logger.error("the audit checkpoint could not be written")
        return False
    return True


def _is_head(seq: int, mac: str) -> bool:
    return 0 <= seq < 2**63 and _MAC.fullmatch(mac) is not None

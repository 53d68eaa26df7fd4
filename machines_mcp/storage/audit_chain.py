"""The chain of the audit: each row's mac is an HMAC over the mac before it and the row.

Who can write the database but has not the key can change, drop, put in or swap no row without `verify` naming its
number. Dropping the newest rows leaves a shorter chain that is whole: only a head kept elsewhere shows that.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from machines_mcp.storage.audit_checkpoint import EMPTY, GENESIS, Checkpoint, holds
from machines_mcp.storage.audit_record import COLUMNS

if TYPE_CHECKING:
    import sqlite3

Wrong = Literal["missing", "changed", "added", "truncated", "gone"]

MOST_FAULTS = 10

_READ = f"SELECT {', '.join(COLUMNS)}, mac FROM audit ORDER BY seq"  # noqa: S608 - made of constants


@dataclass(frozen=True, slots=True)
class Fault:
    """Where the chain is not whole: at this row, or (missing) from this row on."""

    seq: int
    what: Wrong

    def __str__(self) -> str:
        match self.what:
            case "missing":
                return f"rows are missing from row {self.seq} on"
            case "changed":
                return f"row {self.seq} was changed, swapped or put in"
            case "added":
                return f"row {self.seq} was put in"
            case "truncated":
                return f"the head speaks of row {self.seq}, which is not there or is another row"
            case "gone":
                return "the table of the audit is gone"


@dataclass(frozen=True, slots=True)
class Finding:
    """What `verify` found: how many rows, the first ten faults, and the head of the chain as it stands."""

    rows: int
    faults: tuple[Fault, ...]
    checkpoint: Checkpoint

    @property
    def ok(self) -> bool:
        """Whether nothing was tampered with, as far as the chain and the head that was given can show."""
        return not self.faults


def chained(key: bytes, before: bytes, values: tuple[Any, ...]) -> bytes:
    """The mac of a row, given the mac before it and the row's values in the order of `COLUMNS`.

    Columns without a value are left out, so that a later version can add columns and old rows stay valid.

    Raises:
        TypeError: A value is no text and no number.
    """
    row = {name: value for name, value in zip(COLUMNS, values, strict=True) if value is not None}
    canonical = json.dumps(row, sort_keys=True, separators=(",", ":"))
    return hmac.digest(key, before + canonical.encode("ascii"), "sha256")


def verify(db: sqlite3.Connection, key: bytes, checkpoint: Checkpoint | None = None) -> Finding:
    """Walk the whole chain, a row at a time; with a `head` kept elsewhere, truncation is found too.

    `db` is within a transaction, so that it sees one state.
    """
    if db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'audit'").fetchone() is None:
        return Finding(0, (Fault(0, "gone"),), EMPTY)
    faults: list[Fault] = []
    rows, last, before = 0, 0, GENESIS
    found = EMPTY
    for values, mac in _rows(db):
        rows += 1
        seq = values[0]
        faults += _faults(key, before, last, values, mac)
        if isinstance(mac, bytes) and seq > 0:
            before = mac  # what follows is judged by what is there, so that each fault is named once
        last = max(seq, 0)
        found = Checkpoint(seq, before.hex(), values[1])
    if checkpoint is not None and not holds(db, checkpoint):
        faults.append(Fault(checkpoint.seq, "truncated"))
    return Finding(rows, tuple(faults[:MOST_FAULTS]), found)


def _faults(key: bytes, before: bytes, last: int, values: tuple[Any, ...], mac: object) -> Iterator[Fault]:
    seq = values[0]
    if seq <= 0:
        yield Fault(seq, "added")
        return
    if seq > last + 1:
        # What the row would have to be chained to is gone, so that nothing can be said of the row itself.
        yield Fault(last + 1, "missing")
        return
    try:
        whole = isinstance(mac, bytes) and hmac.compare_digest(chained(key, before, values), mac)
    except TypeError:
        whole = False
    if not whole:
        yield Fault(seq, "changed")


@contextmanager
def tolerant(db: sqlite3.Connection) -> Iterator[None]:
    """Reads what stands there as text even where it is none: a fault of its row, not the end of the walk."""
    factory, db.text_factory = db.text_factory, lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        db.text_factory = factory


def _rows(db: sqlite3.Connection) -> Iterator[tuple[tuple[Any, ...], Any]]:
    with tolerant(db):
        cursor = db.cursor()
        cursor.row_factory = None
        for row in cursor.execute(_READ):
            yield row[:-1], row[-1]

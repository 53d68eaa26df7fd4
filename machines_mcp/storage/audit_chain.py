"""The hash chain of the audit log: each row's MAC is an HMAC over the previous MAC and the row.

Without the key, nobody can change, delete, insert or swap a row undetected: `verify` names its number. Deleting the
newest rows leaves a valid, shorter chain. Only a checkpoint stored elsewhere reveals that.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from machines_mcp.storage.audit_checkpoint import EMPTY, GENESIS, Checkpoint, holds
from machines_mcp.storage.audit_pruning import pruned_runs
from machines_mcp.storage.audit_record import COLUMNS
from machines_mcp.storage.migrations.stored_names import AUDIT_MAC_NAMES

if TYPE_CHECKING:
    import sqlite3

Wrong = Literal["missing", "changed", "added", "truncated", "gone"]

MAX_FAULTS = 10

_MAC_NAMES = tuple(AUDIT_MAC_NAMES.get(name, name) for name in COLUMNS)
_READ = f"SELECT {', '.join(COLUMNS)}, mac FROM audit ORDER BY seq"  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class Fault:
    """A break in the chain at this row or, if `missing`, from this row on."""

    seq: int
    what: Wrong

    def __str__(self) -> str:
        match self.what:
            case "missing":
                return f"rows are missing, starting at row {self.seq}"
            case "changed":
                return f"row {self.seq} was changed, swapped or inserted"
            case "added":
                return f"row {self.seq} was inserted"
            case "truncated":
                return f"the checkpoint names row {self.seq}, which is missing or different"
            case "gone":
                return "the audit table is missing"


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of `verify`: the number of rows, the first ten faults, and the checkpoint.

    `pruned` rows are not counted in `rows`. `forgotten` ones are: they name pseudonyms of users who were forgotten.
    """

    rows: int
    faults: tuple[Fault, ...]
    checkpoint: Checkpoint
    pruned: int = 0
    forgotten: int = 0

    @property
    def ok(self) -> bool:
        """Whether the chain and the given checkpoint, if any, show no tampering."""
        return not self.faults


def chained(key: bytes, before: bytes, values: tuple[Any, ...]) -> bytes:
    """Return the MAC of a row, given the previous MAC and the row's values in the order of `COLUMNS`.

    It covers each value with its column's first name. Columns without a value are left out, so that a later version can
    add columns and old rows stay valid.

    Raises:
        TypeError: A value is neither text nor a number.
    """
    row = {name: value for name, value in zip(_MAC_NAMES, values, strict=True) if value is not None}
    canonical = json.dumps(row, sort_keys=True, separators=(",", ":"))
    return hmac.digest(key, before + canonical.encode("ascii"), "sha256")


def forgotten_seal(key: bytes, before: bytes, mac: bytes, values: tuple[Any, ...]) -> bytes:
    """Return the seal of a row that keeps its MAC although a forgotten user was replaced in its values."""
    return chained(key, b"forgotten\0" + before + mac, values)


def verify(db: sqlite3.Connection, key: bytes, checkpoint: Checkpoint | None = None) -> Verification:
    """Verify the whole chain, row by row. A `checkpoint` stored elsewhere also reveals truncation.

    `db` must be in a transaction, so that all reads see the same state.
    """
    if db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'audit'").fetchone() is None:
        return Verification(0, (Fault(0, "gone"),), EMPTY)
    faults: list[Fault] = []
    rows, last, before, pruned = 0, 0, GENESIS, 0
    found, runs = EMPTY, pruned_runs(db)
    seals: dict[int, object] = dict(map(tuple, db.execute("SELECT seq, seal FROM audit_forgotten")))
    for values, mac in _rows(db):
        rows += 1
        seq = values[0]
        while seq > last + 1 and (run := runs.get(last + 1)) and run.last < seq and run.continues(key, before):
            last, before, pruned = run.last, run.mac, pruned + run.last - run.first + 1
        faults += _faults(key, before, last, values, mac, seals.get(seq))
        if isinstance(mac, bytes) and seq > 0:
            before = mac  # check the next row against the stored MAC, so that each fault is reported once
        last = max(seq, 0)
        found = Checkpoint(seq, before.hex(), values[1])
    if any(first > last for first in runs):
        # The newest row is never pruned, so rows after these were deleted.
        faults.append(Fault(last + 1, "missing"))
    if checkpoint is not None and not holds(db, checkpoint):
        faults.append(Fault(checkpoint.seq, "truncated"))
    return Verification(rows, tuple(faults[:MAX_FAULTS]), found, pruned, len(seals))


def _faults(
    key: bytes, before: bytes, last: int, values: tuple[Any, ...], mac: object, seal: object
) -> Iterator[Fault]:
    seq = values[0]
    if seq <= 0:
        yield Fault(seq, "added")
        return
    if seq > last + 1:
        # The previous row is missing, so this row can't be checked.
        yield Fault(last + 1, "missing")
        return
    if not whole(key, before, values, mac, seal):
        yield Fault(seq, "changed")


def whole(key: bytes, before: bytes, values: tuple[Any, ...], mac: object, seal: object) -> bool:
    """Return whether the key's holder wrote the row: with this MAC or, if it has one, with this seal."""
    try:
        if not isinstance(mac, bytes) or seal is None:
            return isinstance(mac, bytes) and hmac.compare_digest(chained(key, before, values), mac)
        return isinstance(seal, bytes) and hmac.compare_digest(forgotten_seal(key, before, mac, values), seal)
    except TypeError:
        return False


@contextmanager
def tolerant(db: sqlite3.Connection) -> Iterator[None]:
    """Decode invalid UTF-8 instead of raising, so that it is a fault of one row and does not end the read."""
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

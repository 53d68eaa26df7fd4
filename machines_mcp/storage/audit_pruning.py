"""Prune audit rows of reads, so that the chain stays verifiable.

A run of pruned rows leaves a sealed record of its MACs. Without the key, nobody can make such a record, so nobody can
pass off the deletion of other rows as pruning. The newest row is never pruned.
"""

from __future__ import annotations

import hmac
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from machines_mcp.storage.audit_checkpoint import GENESIS, MAC_PREFIX
from machines_mcp.storage.database import StoreUnavailable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

BATCH_ROWS = 2_000

# A read, or a call of a tool that does not exist. Both changed nothing, and nobody decided on them.
_PRUNABLE = "kind = 'call' AND (action_class = 'read' OR tool IS NULL) AND verdict IS NULL AND sink IS NULL AND at < ?"
_ROWS = (
    f"SELECT seq, mac, {_PRUNABLE} AND seq < (SELECT max(seq) FROM audit) FROM audit"  # noqa: S608 - constants only
    " WHERE seq > ? ORDER BY seq LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class PrunedRun:
    """The record of pruned rows `first` to `last`. `mac` is the last one's MAC, `macs` the beginnings of all."""

    first: int
    last: int
    mac: bytes
    macs: bytes
    seal: bytes

    @classmethod
    def of(cls, key: bytes, before: bytes, first: int, macs: list[bytes]) -> PrunedRun:
        """Return the sealed record of rows with these MACs, chained to `before`."""
        last, beginnings = first + len(macs) - 1, b"".join(mac[:MAC_PREFIX] for mac in macs)
        return cls(first, last, macs[-1], beginnings, _seal(key, before, first, last, macs[-1], beginnings))

    def continues(self, key: bytes, before: bytes) -> bool:
        """Return whether this record was made with the key, for rows that were chained to `before`."""
        expected = _seal(key, before, self.first, self.last, self.mac, self.macs)
        return self.last >= self.first and hmac.compare_digest(expected, self.seal)


@dataclass(frozen=True, slots=True)
class PrunedBatch:
    """The number of rows that were deleted, and the last row that was looked at; None after the newest."""

    deleted: int
    reached: int | None


def pruned_runs(db: sqlite3.Connection) -> dict[int, PrunedRun]:
    """Return the records of pruned rows, by the number of their first row."""
    rows = db.execute("SELECT first, last, mac, macs, seal FROM audit_pruned")
    return {row[0]: PrunedRun(*row) for row in rows}


def prune_batch(db: sqlite3.Connection, key: bytes, before: float, after: int) -> PrunedBatch:
    """Prune rows of reads from before that time (epoch seconds), looking at the next rows after number `after`.

    Raises:
        StoreUnavailable: The chain has a gap.
    """
    rows = db.execute(_ROWS, (before, after, BATCH_ROWS)).fetchall()
    deleted = 0
    for run in _runs(db, key, after, [(row[0], row[1], bool(row[2])) for row in rows]):
        db.execute("DELETE FROM audit WHERE seq BETWEEN ? AND ?", (run.first, run.last))
        db.execute("DELETE FROM audit_forgotten WHERE seq BETWEEN ? AND ?", (run.first, run.last))
        db.execute("INSERT INTO audit_pruned VALUES (?, ?, ?, ?, ?)", astuple(run))
        deleted += run.last - run.first + 1
    return PrunedBatch(deleted, rows[-1][0] if len(rows) == BATCH_ROWS else None)


def _runs(db: sqlite3.Connection, key: bytes, after: int, rows: list[tuple[int, bytes, bool]]) -> Iterator[PrunedRun]:
    """Yield a record for each run of prunable rows."""
    known, last, before = pruned_runs(db), after, mac_of(db, after)
    chained_to, first, macs = before, 0, list[bytes]()
    for seq, mac, prunable in rows:
        gap = seq != last + 1
        if macs and (gap or not prunable):
            yield PrunedRun.of(key, chained_to, first, macs)
            macs = []
        while seq != last + 1:
            run = known.get(last + 1)
            if run is None:
                raise StoreUnavailable("The audit log has a gap. Run machines-mcp audit verify.")
            last, before = run.last, run.mac
        if prunable:
            if not macs:
                chained_to, first = before, seq
            macs.append(mac)
        last, before = seq, mac
    if macs:
        yield PrunedRun.of(key, chained_to, first, macs)


def mac_of(db: sqlite3.Connection, seq: int) -> bytes:
    """Return the MAC of this row, pruned or not; for row 0, what the first row is chained to.

    Raises:
        StoreUnavailable: The chain has a gap there.
    """
    if seq == 0:
        return GENESIS
    found = "SELECT mac FROM audit WHERE seq = ? UNION ALL SELECT mac FROM audit_pruned WHERE last = ?"
    row = db.execute(found, (seq, seq)).fetchone()
    if row is None:
        raise StoreUnavailable("The audit log has a gap. Run machines-mcp audit verify.")
    return bytes(row[0])


def _seal(key: bytes, before: bytes, first: int, last: int, mac: bytes, macs: bytes) -> bytes:
    return hmac.digest(key, b"\0".join((b"pruned", before, b"%d" % first, b"%d" % last, mac, macs)), "sha256")

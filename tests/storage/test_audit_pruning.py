"""Pruning deletes reads only, and the chain, with any checkpoint of it, stays verifiable. Nobody can fake a pruning."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines_mcp.storage import audit_pruning
from machines_mcp.storage.audit_checkpoint import Checkpoint, newest
from machines_mcp.storage.audit_log import AuditEntry, AuditLog, Verification
from machines_mcp.storage.audit_pruning import PrunedRun
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock
from tests.support.inline_store import InlineStore, finish

KEY = bytes(range(32))
READS = (
    AuditEntry("call", tool="get_balances", action_class="read", user_id="user-1", code="ok"),
    AuditEntry("call", tool="get_card", action_class="read", user_id="user-2", code="not_found"),
    AuditEntry("call", code="tool.unknown"),
)
OTHERS = (
    AuditEntry("call", tool="create_card", action_class="money", user_id="user-1", verdict="executing"),
    AuditEntry("call", tool="close_card", action_class="destroy", user_id="user-1", code="policy.denied"),
    AuditEntry("call", tool="reveal_card", action_class="read", verdict="executing", sink="none", card_id="card-1"),
    AuditEntry("reveal", tool="reveal_card", sink="none", card_id="card-1", code="verified"),
    AuditEntry("decision", tool="create_card", verdict="granted", by="terminal"),
    AuditEntry("alarm", code="output_filter.exact"),
)
ENTRIES = READS + OTHERS

entries = st.lists(st.sampled_from(ENTRIES), max_size=30)
tried = settings(max_examples=200, deadline=None, database=None)


class Log:
    """An audit log in memory, with every checkpoint that it ever had."""

    def __init__(self, folder: Path) -> None:
        self.store, self.clock = InlineStore(folder), Clock()
        self.audit = AuditLog(self.store, KEY, "policy-1", clock=self.clock)
        self.heads: list[Checkpoint] = []

    def write(self, wanted: list[AuditEntry]) -> None:
        for entry in wanted:
            finish(self.audit.append(entry))
            self.heads.append(finish(self.store.read(newest)))
            self.clock.advance(1)

    def prune(self, age: float) -> int:
        deleted = finish(self.audit.prune(self.clock.now - age))
        self.heads.append(finish(self.store.read(newest)))
        return deleted

    def verified(self, checkpoint: Checkpoint | None = None) -> Verification:
        return finish(self.audit.verified(checkpoint))

    def change(self, statement: str, *values: object) -> None:
        finish(self.store.run(lambda db: db.execute(statement, values)))

    def kept(self) -> list[tuple[str | None, str, str | None]]:
        rows = finish(self.audit.rows(ANY_USER, limit=1_000))
        return [(row.tool, row.kind, row.code) for row in rows if row.code != "pruned"]


@contextmanager
def log(batch: int = 1_000) -> Iterator[Log]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_pruning, "BATCH_ROWS", batch)
        made = Log(Path(folder))
        try:
            yield made
        finally:
            made.store.end()


@tried
@given(parts=st.lists(st.tuples(entries, st.integers(0, 20)), min_size=1, max_size=4), batch=st.integers(1, 12))
def test_the_chain_and_every_checkpoint_of_it_stay_verifiable(
    parts: list[tuple[list[AuditEntry], int]], batch: int
) -> None:
    with log(batch) as made:
        deleted = written = 0
        for wanted, age in parts:
            made.write(wanted)
            deleted, written = deleted + made.prune(age), written + len(wanted) + 1
            verification = made.verified()
            assert (verification.ok, verification.rows, verification.pruned) == (True, written - deleted, deleted)
            assert all(made.verified(head).ok for head in made.heads)


@tried
@given(wanted=entries, age=st.integers(0, 30))
def test_only_old_reads_are_deleted(wanted: list[AuditEntry], age: int) -> None:
    with log() as made:
        made.write(wanted)
        old = wanted[: max(0, len(wanted) - age)]
        kept = [entry for entry in old if entry not in READS] + wanted[len(old) :]
        assert made.prune(age) == len(wanted) - len(kept)
        assert made.kept() == [(entry.tool, entry.kind, entry.code) for entry in kept]
        made.write([READS[0]])
        assert made.verified().ok


@pytest.fixture
def pruned() -> Iterator[Log]:
    """A log of 13 rows: 1 to 3, 5 and 6, and 8 to 10 were pruned."""
    with log() as made:
        made.write([*READS, OTHERS[0], *READS[:2], OTHERS[1], *READS, OTHERS[0], OTHERS[2]])
        assert made.prune(0) == 8
        assert made.verified().ok
        yield made


def faults(verification: Verification) -> list[tuple[int, str]]:
    return [(fault.seq, fault.what) for fault in verification.faults]


@pytest.mark.parametrize("seq", [4, 7, 11, 12])
def test_a_deleted_row_between_pruned_ones_is_missing(pruned: Log, seq: int) -> None:
    pruned.change("DELETE FROM audit WHERE seq = ?", seq)
    assert (seq, "missing") in faults(pruned.verified())


@pytest.mark.parametrize("statement", [
    "DELETE FROM audit_pruned WHERE first = 5",
    "UPDATE audit_pruned SET last = 7 WHERE first = 5",
    "UPDATE audit_pruned SET first = 4 WHERE first = 5",
    "UPDATE audit_pruned SET mac = zeroblob(32) WHERE first = 5",
    "UPDATE audit_pruned SET macs = zeroblob(16) WHERE first = 5",
    "UPDATE audit_pruned SET seal = zeroblob(32) WHERE first = 5",
    "UPDATE audit_pruned SET mac = (SELECT mac FROM audit WHERE seq = 7), last = 7 WHERE first = 5",
])  # fmt: skip
def test_a_changed_record_is_not_believed(pruned: Log, statement: str) -> None:
    pruned.change(statement)
    if "last = 7" in statement:
        pruned.change("DELETE FROM audit WHERE seq = 7")
    assert faults(pruned.verified()) != []


def test_a_record_without_the_key_hides_no_deletion(pruned: Log) -> None:
    find = "SELECT mac FROM audit_pruned WHERE first = 5 UNION ALL SELECT mac FROM audit WHERE seq = 7"
    before, mac = [bytes(row[0]) for row in finish(pruned.store.read(lambda db: db.execute(find).fetchall()))]
    forged = PrunedRun.of(b"another key", before, 7, [mac])
    pruned.change("DELETE FROM audit WHERE seq = 7")
    pruned.change("INSERT INTO audit_pruned VALUES (7, 7, ?, ?, ?)", forged.mac, forged.macs, forged.seal)
    assert (7, "missing") in faults(pruned.verified())


def test_rows_deleted_after_the_last_pruned_ones_are_missing(pruned: Log) -> None:
    pruned.change("DELETE FROM audit WHERE seq > 7")
    assert faults(pruned.verified()) == [(8, "missing")]


def test_another_logs_checkpoint_of_a_pruned_row_does_not_match(pruned: Log) -> None:
    head = pruned.heads[1]
    assert pruned.verified(head).ok
    other = Checkpoint(head.seq, "0" * 64, head.at)
    assert faults(pruned.verified(other)) == [(head.seq, "truncated")]

"""Invariants that hold after every step, whatever failed. Each has a name that tests can expect."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator

from machines_mcp.storage.audit_chain import chained
from machines_mcp.storage.audit_checkpoint import holds, newest
from machines_mcp.storage.audit_record import COLUMNS
from machines_mcp.storage.state_keys import state_key
from tests.machine.state_rows import Group, Row, approvals, reading
from tests.machine.world import PER_DAY_CENTS, PER_USER_DAY_CENTS, VirtualWorld

DAY = 86_400.0


class InvariantViolated(AssertionError):
    """An invariant was violated."""


def check(world: VirtualWorld) -> None:
    """Check every invariant.

    Raises:
        InvariantViolated: For the first violation.
    """
    path = world.disk.folder / "state.db"
    if not path.exists():
        return
    with reading(path) as db:
        rows = approvals(db)
        found = [
            *(f"told: {wrong}" for wrong in world.told.wrong),
            *(f"sent: {wrong}" for wrong in world.sends.wrong),
            *_upstream(world, rows),
            *_money(world, rows),
            *_told(world, rows),
            *_kept(world, rows),
            *_caps(db, rows),
            *_audit(db, rows),
            *_chain(world, db),
        ]
    if found:
        raise InvariantViolated(found[0])


def by_resource(rows: list[Row]) -> dict[Group, list[Row]]:
    """Group the approvals by the resource they would create."""
    groups = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    return groups


def _upstream(world: VirtualWorld, rows: list[Row]) -> Iterator[str]:
    """Each upstream object belongs to exactly one approval, and each completed approval to one object."""
    there = Counter((t.kind, t.user, t.terms) for t in world.upstream.things if t.kind != "deposit")
    # A change that a later one replaced looks like one that never happened.
    there.update(
        {card: ("change", card, terms) for kind, card, terms in world.upstream.changes if kind == "change"}.values()
    )
    there.update(change for change in world.upstream.changes if change[0] == "close")
    by_group = by_resource(rows)
    for group in there.keys() | by_group.keys():
        standings = Counter(row.standing for row in by_group.get(group, ()))
        least, most = standings["done"], standings["done"] + standings["open"]
        if there[group] > most:
            yield f"upstream: {there[group]} objects ({group[0]}), but at most {most} approvals can have created them"
        if there[group] < least and group[0] not in ("change", "close"):
            yield f"upstream: {there[group]} objects ({group[0]}), but {least} approvals completed"


def _money(world: VirtualWorld, rows: list[Row]) -> Iterator[str]:
    """Money sent upstream is the sum of completed withdrawals plus some unresolved ones."""
    out = sum(thing.cents for thing in world.upstream.created("withdrawal"))
    done = sum(row.cents for row in rows if row.standing == "done")
    still_open = sum(row.cents for row in rows if row.standing == "open")
    quotes = Counter(thing.terms for thing in world.upstream.created("withdrawal"))
    if max(quotes.values(), default=0) > 1:
        yield "money: one quote paid out twice"
    if not done <= out <= done + still_open:
        yield f"money: {out} cents sent, {done} completed, {still_open} unresolved"


_NAMES = ("card_id", "withdrawal_id", "deposit_id")


def _told(world: VirtualWorld, rows: list[Row]) -> Iterator[str]:
    """Earlier responses remain true."""
    by_id = {row.id: row for row in rows}
    for approval_id, told in world.told.outcomes.items():
        row = by_id.get(approval_id)
        if row is None or row.standing == "nothing":
            yield "told: a caller received a success, but the approval did not complete"
        elif row.state == "done" and any(told.get(name) != (row.outcome or {}).get(name) for name in _NAMES):
            yield "told: a response differs from the stored outcome"
    if not set(world.told.deposits) <= {thing.id for thing in world.upstream.created("deposit")}:
        yield "told: a response names a missing deposit"


def _kept(world: VirtualWorld, rows: list[Row]) -> Iterator[str]:
    """A stored outcome never changes and names a resource that no other approval names."""
    for row in rows:
        if row.state == "done" and row.outcome is not None:
            world.told.kept.setdefault(row.id, row.outcome)
        if row.id in world.told.kept and row.outcome != world.told.kept[row.id]:
            yield "kept: a stored outcome has changed or is missing"
    cards = {thing.id: thing for thing in world.upstream.created("card")}
    named = [
        (row, cards.get(row.outcome["card_id"]))
        for row in rows
        if row.group[0] == "card" and row.state == "done" and row.outcome is not None
    ]
    if any(card is None or (card.kind, card.user, card.terms) != row.group for row, card in named):
        yield "kept: an approval names a missing card or one with other terms"
    if len({card.id for _, card in named if card is not None}) < len(named):
        yield "kept: two approvals name one card"


def _caps(db: sqlite3.Connection, rows: list[Row]) -> Iterator[str]:
    """A day's total never exceeds its cap."""
    total: Counter[float] = Counter()
    of_user: Counter[tuple[float, str]] = Counter()
    for row in rows:
        if row.cents and row.standing != "nothing" and row.started_at is not None:
            day = row.started_at // DAY
            total[day] += row.cents
            of_user[day, row.group[1]] += row.cents
    if any(cents > PER_DAY_CENTS for cents in total.values()):
        yield f"cap: {max(total.values())} cents on one day, limit {PER_DAY_CENTS}"
    if any(cents > PER_USER_DAY_CENTS for cents in of_user.values()):
        yield f"cap: {max(of_user.values())} cents of one user on one day, limit {PER_USER_DAY_CENTS}"


# The audit events that may follow each other for one approval.
_NEXT = {
    ("", "asked"): "waiting",
    ("waiting", "granted"): "granted",
    ("waiting", "refused"): "refused",
    # The row of a withdrawn request is that of a refused one.
    ("waiting", "withdrawn"): "refused",
    ("granted", "executing"): "executing",
    ("executing", "not_begun"): "granted",
    ("executing", "done"): "done",
    ("executing", "failed"): "failed",
}


def _audit(db: sqlite3.Connection, rows: list[Row]) -> Iterator[str]:
    """Each approval is granted once and consumed once per grant, and the audit agrees with each row."""
    states: dict[str, str] = defaultdict(str)
    told = (
        "SELECT kind, approval_id, verdict FROM audit"
        " WHERE approval_id IS NOT NULL AND (kind = 'asked' OR verdict IS NOT NULL) ORDER BY seq"
    )
    for kind, approval_id, verdict in db.execute(told):
        word = "asked" if kind == "asked" else verdict
        after = _NEXT.get((states[approval_id], word))
        if after is None:
            yield f"audit: an approval in state {states[approval_id] or 'none'} was {word}"
            return
        states[approval_id] = after
    for row in rows:
        if states.pop(row.id, "") != row.state:
            yield f"audit: an approval is {row.state}, but the audit disagrees"
    if states:
        yield "audit: a row names a missing approval"


def _chain(world: VirtualWorld, db: sqlite3.Connection) -> Iterator[str]:
    """The audit chain is intact. Only new records are checked, except after recovery."""
    seen = world.told.checkpoint
    if not holds(db, seen):
        yield f"chain: row {seen.seq} of the audit is missing or replaced"
        return
    key, before = state_key(world.disk.folder, "audit"), bytes.fromhex(seen.mac)
    rows = db.execute(f"SELECT {', '.join(COLUMNS)}, mac FROM audit WHERE seq > ? ORDER BY seq", (seen.seq,))  # noqa: S608
    for number, (*values, mac) in enumerate(rows, seen.seq + 1):
        if values[0] != number or chained(key, before, tuple(values)) != mac:
            yield f"chain: row {number} of the audit does not follow its predecessor"
            return
        before = mac
    world.told.checkpoint = newest(db)

"""Fill a database with copies of rows that were made over the API or by calls, as often as requested.

SQL inserts 100,000 copies of each in a few seconds. Columns not set here keep the original's value, so new columns
need no change. Those of a sandbox are at least a day old and one second apart.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

DAY = 86_400.0
# The number of users who own the other rows.
NEIGHBOURS = 100

Row = dict[str, Any]


def fill(file: Path, user_id: str, *, own: int, others: int) -> None:
    """Bring the user to `own` cards, deposits and spends, and add `others` of each for other users."""
    with closing(sqlite3.connect(file, timeout=30)) as database:
        database.row_factory = sqlite3.Row
        with database:
            _fill(database, user_id, own, others)
        # Flush the WAL into the file, to measure a database at rest and not one that was just written.
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _fill(database: sqlite3.Connection, user_id: str, own: int, others: int) -> None:
    neighbours = _neighbours(database, user_id)
    for first, count, owner in (
        (1, own, lambda number: user_id),
        (0, others, lambda number: neighbours[number % NEIGHBOURS]),
    ):
        _copy_cards(database, user_id, range(first, count), owner)
        _copy_deposits(database, user_id, range(first, count), owner)
        _copy_spends(database, user_id, range(first, count), owner)


def _neighbours(database: sqlite3.Connection, user_id: str) -> list[str]:
    names = [f"neighbour-{number}" for number in range(NEIGHBOURS)]
    original = _original(database, "SELECT * FROM users WHERE user_id = ?", user_id)
    _insert(database, "users", ({**original, "user_id": name, "kyc_page": None} for name in names))
    return names


def _copy_cards(database: sqlite3.Connection, user_id: str, numbers: range, owner: Callable[[int], str]) -> None:
    original = _original(database, "SELECT * FROM cards WHERE user_id = ?", user_id)

    def copies() -> Iterator[Row]:
        for number in numbers:
            own = {"card_id": str(uuid.uuid4()), "user_id": owner(number), "position": number}
            yield {**original, **own, "created_at": _past(original, number)}

    _insert(database, "cards", copies())


def _copy_deposits(database: sqlite3.Connection, user_id: str, numbers: range, owner: Callable[[int], str]) -> None:
    """Copy the deposit and its entry, completed long enough ago not to be active."""
    deposit = _original(database, "SELECT * FROM deposits WHERE user_id = ?", user_id)
    entry = _original(database, "SELECT * FROM entries WHERE entry_id = ?", deposit["entry_id"])
    ids = [str(uuid.uuid4()) for _ in numbers]

    def entries() -> Iterator[Row]:
        for number, entry_id in zip(numbers, ids, strict=True):
            at = _past(entry, number)
            yield {**entry, "entry_id": entry_id, "user_id": owner(number), "created_at": at, "posts_at": at}

    def deposits() -> Iterator[Row]:
        for number, entry_id in zip(numbers, ids, strict=True):
            own = {"deposit_id": str(uuid.uuid4()), "user_id": owner(number), "entry_id": entry_id}
            at = _past(deposit, number)
            yield {**deposit, **own, "created_at": at, "completes_at": at}

    _insert(database, "entries", entries())
    _insert(database, "deposits", deposits())


def _copy_spends(database: sqlite3.Connection, user_id: str, numbers: range, owner: Callable[[int], str]) -> None:
    """Copy the spend, one cent each, so that the balance stays valid."""
    original = _original(database, "SELECT * FROM entries WHERE user_id = ? AND type = 'spend'", user_id)

    def copies() -> Iterator[Row]:
        for number in numbers:
            at = _past(original, number)
            own = {"entry_id": str(uuid.uuid4()), "user_id": owner(number), "amount_cents": 1}
            yield {**original, **own, "created_at": at, "posts_at": at}

    _insert(database, "entries", copies())


def fill_state(file: Path, count: int, now: float) -> None:
    """Add `count` rows of other users to each table of a server's database that grows.

    Each has a payout of today. The audit rows are of the last hour's reads, and of as many earlier changes of today.
    """
    with closing(sqlite3.connect(file, timeout=30)) as database:
        database.row_factory = sqlite3.Row
        with database:
            _fill_state(database, range(count), now)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _fill_state(database: sqlite3.Connection, numbers: range, now: float) -> None:
    ids = [uuid.uuid4().hex for _ in numbers]
    # From the beginning of the UTC day, or an hour ago, until now.
    day, hour = now - now % DAY, now - 3_600

    def copies(table: str, where: str, change: Callable[[int], Row]) -> None:
        original = _original(database, f"SELECT * FROM {table} WHERE {where}")  # noqa: S608
        _insert(database, table, ({**original, **change(number)} for number in numbers))

    def within(start: float, end: float, number: int) -> float:
        return start + (end - start) * number / len(numbers)

    def of(number: int, **columns: object) -> Row:
        return {"id": ids[number], "user_id": f"neighbour-{number % NEIGHBOURS}", **columns}

    def seq(number: int) -> Row:
        return {"seq": newest + number + 1, "user_id": f"neighbour-{number % NEIGHBOURS}"}

    earlier = max(day, hour - 60)

    def started(number: int) -> Row:
        at = within(day, earlier, number)
        return {"created_at": at, "expires_at": at, "decided_at": at, "started_at": at}

    copies(
        "approvals",
        "state = 'done' AND action_class = 'money' AND amount_cents > 0",
        lambda number: of(number, **started(number)),
    )
    copies("mutations", "state = 'done'", lambda number: of(number, idempotency_key=None, approval_id=ids[number]))
    copies("quotes", "used_by IS NOT NULL", lambda number: of(number, used_by=ids[number]))
    copies("withdrawals", "status = 'ready'", lambda number: of(number, quote_id=ids[number], approval_id=ids[number]))
    copies("known_users", "true", lambda number: {"user_id": ids[number]})
    (newest,) = database.execute("SELECT max(seq) FROM audit").fetchone()
    changes = "verdict = 'executing' AND approval_id IS NOT NULL"
    copies("audit", changes, lambda number: seq(number) | {"at": within(day, earlier, number)})
    newest += len(numbers)
    reads = "kind = 'call' AND action_class = 'read' AND verdict IS NULL"
    copies("audit", reads, lambda number: seq(number) | {"at": within(hour, now, number)})


def _past(original: Row, number: int) -> float:
    moment: float = original["created_at"]
    return moment - DAY - number


def _original(database: sqlite3.Connection, sql: str, *values: str) -> Row:
    return dict(database.execute(sql, values).fetchone())


def _insert(database: sqlite3.Connection, table: str, rows: Iterator[Row]) -> None:
    """Insert the rows. Table and column names come from the schema; values are bound."""
    first = next(rows, None)
    if first is None:
        return
    names, marks = ", ".join(first), ", ".join(f":{name}" for name in first)
    sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
    database.execute(sql, first)
    database.executemany(sql, rows)

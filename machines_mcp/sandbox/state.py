"""The sandbox's memory: one SQLite file (or a nameless one that goes with the process), its keys and its clock."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from machines_mcp.sandbox.clock import Clock
from machines_mcp.sandbox.faults import Faults
from machines_mcp.sandbox.idempotency import Keys
from machines_mcp.sandbox.provisioning import Provisioning
from machines_mcp.sandbox.rate import RateLimit

SCHEMA_VERSION: Final = 1
# How a file says that it is the sandbox's own: "mcsb".
APPLICATION_ID: Final = 0x6D637362
SCHEMA: Final = Path(__file__).with_name("schema.sql")
# Everything that belongs to users, in the order that a reset empties it. The keys in `meta` stay.
TABLES: Final = (
    *("idempotency", "secrets_sessions", "deposits", "totals", "entries", "withdrawals", "cards", "sessions", "users"),
)


class State:
    """Opened once per process; every request runs in one transaction of it, so an answer and its effect are one.

    SQLite is called straight from the event loop: each request is a few statements of well under a millisecond, the
    process has no other purpose, and so no two requests ever interleave.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self.db = database
        self.partner_key = self._keep("partner_key", lambda: f"sandbox-partner-{secrets.token_hex(16)}")
        self.token_key = bytes.fromhex(self._keep("token_key", lambda: secrets.token_hex(32)))
        self._seal = AESGCM(bytes.fromhex(self._keep("seal_key", lambda: secrets.token_hex(32))))
        self.clock = Clock(float(self._keep("clock_offset", lambda: "0")))
        # These four are of the process: a restart begins with a sandbox where nothing goes wrong.
        self.faults, self.rate, self.provisioning, self.keys = Faults(), RateLimit(), Provisioning(), Keys()

    @classmethod
    def open(cls, file: Path | None, *, reset: bool = False) -> State:
        """Open `file` (made with mode 0600), or a database that is on no path and vanishes with the process.

        Raises:
            OSError: the file can't be made or opened.
            sqlite3.DatabaseError: the file is something else, or of another version; it is left as it was.
        """
        database = _connect(file)
        try:
            is_new = _is_new(database)
            if reset and not is_new and file is not None:
                database.close()
                for suffix in ("", "-wal", "-shm"):
                    file.with_name(file.name + suffix).unlink(missing_ok=True)
                return cls.open(file)
            _make_schema(database)
            if file is not None:
                file.chmod(0o600)
        except BaseException:
            database.close()
            raise
        return cls(database)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: what raises leaves no trace."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        """The first row, None for none."""
        row: sqlite3.Row | None = self.db.execute(sql, values).fetchone()
        return row

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return self.db.execute(sql, values).fetchall()

    def number(self, sql: str, *values: object) -> int:
        """A single number; NULL (the sum of nothing) is 0."""
        (value,) = self.db.execute(sql, values).fetchone()
        return int(value or 0)

    def insert(self, table: str, **columns: Any) -> None:
        """Insert one row. Table and column names are the sandbox's own words, values are bound."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        self.db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608

    def seal(self, clear: str, purpose: str) -> bytes:
        """Encrypt what should not be found in the file by looking for it. `purpose` must be given again to open it."""
        nonce = secrets.token_bytes(12)
        return nonce + self._seal.encrypt(nonce, clear.encode(), purpose.encode())

    def unseal(self, sealed: bytes, purpose: str) -> str:
        return self._seal.decrypt(sealed[:12], sealed[12:], purpose.encode()).decode()

    def advance(self, seconds: float) -> None:
        """Move the clock forward, and remember it across restarts."""
        self.clock.advance(seconds)
        self.db.execute("UPDATE meta SET value = ? WHERE name = 'clock_offset'", (str(self.clock.offset),))

    def empty(self) -> None:
        """Forget every user, all that is theirs and what was armed. The partner key and the clock stay."""
        self.faults.clear()
        self.rate.set(0, 1)
        self.provisioning.slow(False)
        self.keys.honoured = True
        for table in TABLES:
            self.db.execute(f"DELETE FROM {table}")  # noqa: S608

    def _keep(self, name: str, make: Any) -> str:
        """A value of `meta`, made at first use."""
        row = self.row("SELECT value FROM meta WHERE name = ?", name)
        if row is not None:
            return str(row["value"])
        value: str = make()
        self.insert("meta", name=name, value=value)
        return value


def _connect(file: Path | None) -> sqlite3.Connection:
    if file is not None:
        # Made here, so that it never exists with a wider mode; SQLite gives its companions the same one.
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    database = sqlite3.connect(file or "", isolation_level=None, timeout=5.0)
    database.row_factory = sqlite3.Row
    return database


def _is_new(database: sqlite3.Connection) -> bool:
    """Whether nothing is in it yet; what is not of this sandbox is never touched, emptied or even made private."""
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if tables and (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise sqlite3.DatabaseError("the file is not a database of this version of the sandbox")
    database.execute("PRAGMA journal_mode = WAL")
    # A killed process loses nothing this way; only a power cut could take the last moments of a simulation.
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA foreign_keys = ON")
    return not tables


def _make_schema(database: sqlite3.Connection) -> None:
    stamp = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
    # At once, for others write meanwhile: whoever begins to read and writes later is refused, and not made to wait.
    database.executescript(f"BEGIN IMMEDIATE; {SCHEMA.read_text(encoding='utf-8')} {stamp} COMMIT;")

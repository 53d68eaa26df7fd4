"""The sandbox's state: a SQLite file (or an unnamed database, lost on exit), its keys and its clock."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from machines_mcp.sandbox.clock import Clock
from machines_mcp.sandbox.faults import Faults
from machines_mcp.sandbox.provisioning import Provisioning
from machines_mcp.sandbox.rate import RateLimit
from machines_mcp.sandbox.switches import Keys, Salts, Texts

if TYPE_CHECKING:
    from machines_mcp.sandbox.chain.chains import Chains

    MakeChains = Callable[[Callable[[str, Callable[[], str]], str], Callable[[], float]], Chains]

SCHEMA_VERSION: Final = 1
# SQLite's application_id for sandbox files: "mcsb" in ASCII.
APPLICATION_ID: Final = 0x6D637362
SCHEMA: Final = Path(__file__).with_name("schema.sql")
# All user data, in the order in which a reset deletes it. The keys in `meta` stay.
TABLES: Final = (
    *("idempotency", "secrets_sessions", "deposits", "totals", "entries", "destinations", "chain_signatures"),
    *("withdrawals", "chain_admins", "chain_accounts", "cards", "sessions", "users"),
)


class State:
    """The state, opened once per process. A response and its effect commit in one transaction per request.

    SQLite is called directly from the event loop. Each request is a few statements of well under a millisecond, and
    the process does nothing else, so requests never interleave.
    """

    def __init__(self, database: sqlite3.Connection, make_chains: MakeChains | None = None) -> None:
        self.db = database
        self.partner_key = self._keep("partner_key", lambda: f"sandbox-partner-{secrets.token_hex(16)}")
        self.token_key = bytes.fromhex(self._keep("token_key", lambda: secrets.token_hex(32)))
        self._seal = AESGCM(bytes.fromhex(self._keep("seal_key", lambda: secrets.token_hex(32))))
        self.clock = Clock(float(self._keep("clock_offset", lambda: "0")))
        # In memory only: after a restart, no faults are armed and the defaults apply.
        self.faults, self.rate, self.provisioning = Faults(), RateLimit(), Provisioning()
        self.keys, self.salts, self.texts = Keys(), Salts(), Texts()
        self.chains: Final = None if make_chains is None else make_chains(self._keep, self.clock.now)

    @classmethod
    def open(cls, file: Path | None, *, reset: bool = False, make_chains: MakeChains | None = None) -> State:
        """Open `file` (created with mode 0600), or an unnamed database that is lost on exit.

        `make_chains` makes the chains on which withdrawals can be executed; without it there are none.

        Raises:
            OSError: the file can't be created or opened.
            sqlite3.DatabaseError: the file is not a sandbox database of this version; it is left unchanged.
        """
        database = _connect(file)
        try:
            is_new = _is_new(database)
            if reset and not is_new and file is not None:
                database.close()
                for suffix in ("", "-wal", "-shm"):
                    file.with_name(file.name + suffix).unlink(missing_ok=True)
                return cls.open(file, make_chains=make_chains)
            _make_schema(database)
            if file is not None:
                file.chmod(0o600)
        except BaseException:
            database.close()
            raise
        return cls(database, make_chains)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in one transaction; an exception rolls it back."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        """Return the first row, or None."""
        row: sqlite3.Row | None = self.db.execute(sql, values).fetchone()
        return row

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return self.db.execute(sql, values).fetchall()

    def number(self, sql: str, *values: object) -> int:
        """Return a single number; NULL (an empty sum) is 0."""
        (value,) = self.db.execute(sql, values).fetchone()
        return int(value or 0)

    def insert(self, table: str, **columns: Any) -> None:
        """Insert one row. Values are bound; table and column names come from the sandbox's code only."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        self.db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608

    def seal(self, clear: str, purpose: str) -> bytes:
        """Encrypt a value that must not be readable in the file; `unseal` needs the same `purpose`."""
        nonce = secrets.token_bytes(12)
        return nonce + self._seal.encrypt(nonce, clear.encode(), purpose.encode())

    def unseal(self, sealed: bytes, purpose: str) -> str:
        return self._seal.decrypt(sealed[:12], sealed[12:], purpose.encode()).decode()

    def advance(self, seconds: float) -> None:
        """Move the clock forward and keep the offset across restarts."""
        self.clock.advance(seconds)
        self.db.execute("UPDATE meta SET value = ? WHERE name = 'clock_offset'", (str(self.clock.offset),))

    def empty(self) -> None:
        """Delete all users and their data, and disarm everything. The partner key and the clock stay."""
        self.faults.clear()
        self.rate.set(0, 1)
        self.provisioning.slow(False)
        self.keys, self.salts, self.texts = Keys(), Salts(), Texts()
        for table in TABLES:
            self.db.execute(f"DELETE FROM {table}")  # noqa: S608

    def _keep(self, name: str, make: Callable[[], str]) -> str:
        """Return a value from `meta`, creating it on first use."""
        row = self.row("SELECT value FROM meta WHERE name = ?", name)
        if row is not None:
            return str(row["value"])
        value = make()
        self.insert("meta", name=name, value=value)
        return value


def _connect(file: Path | None) -> sqlite3.Connection:
    if file is not None:
        # Created here so that it never has a wider mode. SQLite gives its -wal and -shm files the same mode.
        _make_private(file)
    database = sqlite3.connect(file or "", isolation_level=None, timeout=5.0)
    database.row_factory = sqlite3.Row
    return database


def _make_private(file: Path) -> None:
    """Create the file with mode 0600 under any umask, unless it exists."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    if os.name == "posix":
        os.fchmod(descriptor, 0o600)
    os.close(descriptor)


def _is_new(database: sqlite3.Connection) -> bool:
    """Return whether the database is empty. Reject a foreign file before changing its contents or its mode."""
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if tables and (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise sqlite3.DatabaseError("the file is not a sandbox database of this version")
    database.execute("PRAGMA journal_mode = WAL")
    # A killed process loses nothing. Only a power cut can lose the latest transactions.
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA foreign_keys = ON")
    return not tables


def _make_schema(database: sqlite3.Connection) -> None:
    stamp = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
    # IMMEDIATE, because others may be writing: a read that later upgrades to a write fails instead of waiting.
    database.executescript(f"BEGIN IMMEDIATE; {SCHEMA.read_text(encoding='utf-8')} {stamp} COMMIT;")

"""Check a state folder after each kill and at the end: unresolved rows, broken chains, leaked secrets."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from machines_mcp.storage.audit_chain import verify
from machines_mcp.storage.state_keys import state_key
from tests.leaks.canaries import Canaries, Canary
from tests.leaks.scanner import Scanner
from tests.support.waiting import PATIENCE

_CVC = re.compile(rb"(?:cvc|cvv|security.?code)[^0-9]{1,24}([0-9]{3})(?![0-9])", re.IGNORECASE)


ByUser: TypeAlias = "Counter[tuple[str, str]]"
"""Calls counted by tool and user."""


@dataclass
class FolderFindings:
    """The findings in a folder."""

    bytes: Counter[str] = field(default_factory=Counter)
    secrets: int = 0
    """The number of secrets searched for."""
    leaks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """A corrupt database or audit chain."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """How requests without a response were resolved."""
    manual: int = 0
    unsettled: list[str] = field(default_factory=list)

    def add(self, other: FolderFindings) -> None:
        """Add other findings to these."""
        self.bytes += other.bytes
        self.secrets += other.secrets
        self.leaks += other.leaks
        self.faults += other.faults
        self.outcomes += other.outcomes
        self.manual += other.manual
        self.unsettled += other.unsettled


def at_kill(state: Path) -> tuple[int, int]:
    """Count the approvals and the journal entries that were unresolved when the server was killed.

    Reads a copy, because opening the database itself would recover it, which the next server must do.
    """
    with tempfile.TemporaryDirectory(prefix="machines-crashes-") as place:
        for path in state.glob("state.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, place)
        if not (Path(place) / "state.db").exists():
            return 0, 0
        with closing(sqlite3.connect(Path(place) / "state.db")) as db:
            tables = {str(row[0]) for row in db.execute("SELECT name FROM sqlite_master")}
            if not {"approvals", "mutations"} <= tables:
                return 0, 0
            (executing,) = db.execute("SELECT count(*) FROM approvals WHERE state = 'executing'").fetchone()
            (pending,) = db.execute(
                "SELECT count(*) FROM mutations WHERE state IN ('pending', 'unknown') AND settled_by IS NULL"
            ).fetchone()
            return int(executing), int(pending)


async def check_folder(
    folder: Path, state: Path, numbers: list[tuple[str, str]], canaries: Canaries, manual: ByUser
) -> FolderFindings:
    """Check everything the servers left behind, after the last one has ended.

    `manual` counts the calls that the client was told to leave to a person, by tool and user.
    """

    def look() -> FolderFindings:
        found = FolderFindings(manual=manual.total())
        _look_for(folder, numbers, canaries, found)
        _look_into(state, manual, found)
        return found

    return await asyncio.to_thread(look)


def _look_for(folder: Path, numbers: list[tuple[str, str]], canaries: Canaries, found: FolderFindings) -> None:
    secrets = [Canary("pan", "own", number) for number, _ in numbers]
    secrets += [canary for canary in canaries.own if canary.kind == "passphrase"]
    # Only the random part, because the scanner searches at most 45 bytes.
    secrets.append(Canary("partner key", "own", (folder / "key").read_text(encoding="utf-8")[-32:]))
    scanner, codes = Scanner(secrets), {cvc.encode() for _, cvc in numbers}
    found.secrets = len(secrets) + len(numbers)
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path == folder / "key":
            continue
        data = path.name.encode() + b"\n" + path.read_bytes()
        channel = path.name if path.parent == folder and not path.name.startswith("points-") else "state and points"
        found.bytes[channel] += len(data)
        found.leaks += [f"{channel}: {hit}" for hit in scanner.scan(data)]
        found.leaks += [f"{channel}: a card's code after its name" for code in _CVC.findall(data) if code in codes]


def unsettled(state: Path, manual: ByUser) -> list[str]:
    """List unresolved journal entries, and executing approvals that were not left to a person."""
    with closing(sqlite3.connect(state / "state.db", timeout=PATIENCE)) as db:
        waiting = "SELECT operation, state FROM mutations WHERE state IN ('pending', 'unknown') AND settled_by IS NULL"
        found = [f"{operation} is {how}" for operation, how in db.execute(waiting)]
        executing = "SELECT tool, user_id, count(*) FROM approvals WHERE state = 'executing' GROUP BY tool, user_id"
        left: ByUser = Counter({(tool, user): count for tool, user, count in db.execute(executing)})
    return found + [f"{tool} of {user} is executing" for tool, user in (left - manual).elements()]


def _look_into(state: Path, manual: ByUser, found: FolderFindings) -> None:
    with closing(sqlite3.connect(state / "state.db")) as db:
        db.row_factory = sqlite3.Row
        (whole,) = db.execute("PRAGMA integrity_check").fetchone()
        if whole != "ok":
            found.faults.append(f"the database: {whole}")
        finding = verify(db, state_key(state, "audit"))
        found.faults += [f"the audit: {fault}" for fault in finding.faults]
        for row in db.execute("SELECT operation, state, attempts, settled_by FROM mutations"):
            by = f", settled by {row['settled_by']}" if row["settled_by"] else ""
            again = ", sent again" if row["attempts"] > 1 else ""
            found.outcomes[f"{row['operation']}: {row['state']}{again}{by}"] += 1
    found.unsettled = unsettled(state, manual)

"""The database of an older version: only the migrations before a given one were applied."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from machines_mcp.storage import migrations
from machines_mcp.storage.private_folder import private_folder

FOLDER = Path(migrations.__file__ or "").parent


@contextmanager
def before_migration(name: str, folder: Path) -> Iterator[sqlite3.Connection]:
    """Create the database as it was before the migration of this name. Commit when the block ends."""
    private_folder(folder)
    files = sorted(FOLDER.glob("*.sql"))
    number = next(index for index, file in enumerate(files) if file.stem.partition("_")[2] == name)
    file = folder / "state.db"
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    with closing(sqlite3.connect(file)) as db, db:
        for each in files[:number]:
            db.executescript(each.read_text(encoding="utf-8"))
        db.execute(f"PRAGMA user_version = {number}")
        yield db

"""Record the SQL that the package executes: each statement, the place it comes from, and SQLite's plan for it."""

from __future__ import annotations

import ast
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import machines_mcp
from tests.packaging.test_layout import modules
from tests.support.running_sandbox import ROOT

OPENING = {"storage.database._migrate", "storage.database._use_wal"}
"""Executed once, when a folder of an older version is opened."""
PACKAGE = Path(machines_mcp.__file__).parent
_METHODS = {"execute", "executemany", "executescript"}
_RECEIVERS = {"db", "cursor"}
# Functions that execute the statement they are given, or one of several.
_HELPERS = {"selected", "used", "_updated_one"}


@dataclass(frozen=True)
class Statement:
    """A statement that was executed, with its first values. `place` is the module and the function."""

    place: str
    sql: str
    values: Any
    plan: tuple[str, ...]


@dataclass
class Statements:
    """The statements of one block, once each, and the lines (file, number) from which any was executed."""

    found: dict[tuple[str, str], Statement] = field(default_factory=dict)
    lines: set[tuple[str, int]] = field(default_factory=set)

    def add(self, db: sqlite3.Connection, sql: str, values: Any) -> None:
        frame = sys._getframe(2)
        place = _place(frame)
        if place is None:
            return
        caller: FrameType | None = frame
        while caller is not None:
            self.lines.add((caller.f_code.co_filename, caller.f_lineno))
            caller = caller.f_back
        if (place, sql) not in self.found and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE)\b", sql):
            explained = sqlite3.Cursor(db).execute(f"EXPLAIN QUERY PLAN {sql}", values)
            self.found[place, sql] = Statement(place, sql, values, tuple(row[3] for row in explained))


def _place(frame: FrameType) -> str | None:
    """Return the module and function of the package, or None if the frame is of neither a call nor an operator."""
    file = Path(frame.f_code.co_filename)
    if not file.is_relative_to(PACKAGE) or file.is_relative_to(PACKAGE / "sandbox"):
        return None
    place = ".".join([*file.relative_to(PACKAGE).with_suffix("").parts, frame.f_code.co_qualname])
    place = re.sub(r"\.<\w+>", "", place)
    return None if place in OPENING else place


@contextmanager
def recorded() -> Iterator[Statements]:
    """Record the statements of all stores that are opened within the block."""
    statements = Statements()

    class RecordingCursor(sqlite3.Cursor):
        def execute(self, sql: str, values: Any = (), /) -> RecordingCursor:
            statements.add(self.connection, sql, values)
            super().execute(sql, values)
            return self

    class RecordingConnection(sqlite3.Connection):
        def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
            statements.add(self, sql, values)
            return super().execute(sql, values)

        def cursor(self, factory: Any = RecordingCursor) -> Any:
            return super().cursor(factory)

    connect = sqlite3.connect

    def connected(path: Any, **options: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(path, **options, factory=RecordingConnection)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", connected)
        yield statements


def places(*without: str) -> Iterator[tuple[str, int, int]]:
    """Yield the file and the lines of each call in the package that executes SQL, except in modules named here."""
    for module, path in modules(ROOT).items():
        within = module.removeprefix("machines_mcp.")
        if within.startswith("sandbox") or within in without:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=receiver), attr=method)) if (
                    receiver in _RECEIVERS and method in _METHODS
                ):
                    yield str(path), node.lineno, node.end_lineno or node.lineno
                case ast.Call(func=ast.Name(id=name)) if name in _HELPERS:
                    yield str(path), node.lineno, node.end_lineno or node.lineno

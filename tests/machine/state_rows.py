"""The contents of a state folder, read without the product: approvals by the resource they would create, and the
audit."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.machine.upstream import card_terms, pay_terms

Standing = Literal["nothing", "open", "done"]
Group = tuple[str, str, str]
"""Kind, user or card, and terms. Equal groups create equal upstream resources."""


@dataclass(frozen=True)
class Row:
    """An approval. `open` means it may have taken effect and is unresolved."""

    id: str
    state: str
    group: Group
    standing: Standing
    cents: int
    started_at: float | None
    outcome: dict[str, Any] | None


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database for reading."""
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        yield db


def approvals(db: sqlite3.Connection) -> list[Row]:
    """Return every approval, oldest first."""
    return [_row(found) for found in db.execute("SELECT * FROM approvals ORDER BY created_at, rowid")]


def _row(found: sqlite3.Row) -> Row:
    outcome = None if found["outcome"] is None else json.loads(found["outcome"])
    cents = found["amount_cents"] or 0
    return Row(
        found["id"],
        found["state"],
        _group(found),
        _standing(found["state"], outcome),
        cents,
        found["started_at"],
        outcome,
    )


def _standing(state: str, outcome: dict[str, Any] | None) -> Standing:
    if state == "done":
        return "done"
    unknown = state == "failed" and outcome is not None and outcome["code"] == "outcome.unknown"
    return "open" if state == "executing" or unknown else "nothing"


def _group(found: sqlite3.Row) -> Group:
    details = json.loads(found["details"])
    limit = None
    if details["limit_cents"] is not None:
        limit = {"amountCents": details["limit_cents"], "frequency": details["limit_frequency"]}
    match found["tool"]:
        case "create_card":
            labels = [item["value"] for item in details["items"] if item["label"] == "Label"]
            return "card", found["user_id"], card_terms(limit, labels[0] if labels else None)
        case "create_withdrawal":
            to = details["destination"]
            there = {"currency": to["currency"], "network": to["network"], "address": to["address"]}
            return "withdrawal", found["user_id"], pay_terms(details["amount_cents"], there)
        case "update_card":
            return "change", found["card_id"], json.dumps({"limit": limit}, sort_keys=True)
        case _:
            return "close", found["card_id"], ""

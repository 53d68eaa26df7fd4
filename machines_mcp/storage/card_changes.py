"""What the journal knows of cards: the labels that calls sent."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

# As the index `mutations_by_label` has them.
_NAME = "CASE WHEN json_valid(body) THEN json_extract(body, '$.encryptedName.ct') END"
_LABELLED = "operation IN ('POST /cards', 'PATCH /cards/{cardId}')"


def labels_sent(db: sqlite3.Connection, user_id: str, ciphertexts: Collection[str]) -> frozenset[str]:
    """Return which of these encrypted labels a call sent for a card of the user, whatever became of it."""
    query = (
        f"SELECT {_NAME} FROM mutations WHERE {_LABELLED} AND user_id = ?"  # noqa: S608 - constants only
        f" AND {_NAME} IN (SELECT value FROM json_each(?))"
    )
    return frozenset(row[0] for row in db.execute(query, (user_id, json.dumps(sorted(ciphertexts)))))

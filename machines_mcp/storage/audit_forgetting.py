"""Replace a forgotten user by a pseudonym in audit rows, so that the chain and its checkpoints stay verifiable.

A changed row keeps its MAC, so no other row changes. A seal under the same key covers its new values: without the key,
nobody can pass off another change as forgetting.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Collection
from typing import TYPE_CHECKING

from machines_mcp.storage.audit_chain import forgotten_seal, tolerant, whole
from machines_mcp.storage.audit_pruning import mac_of
from machines_mcp.storage.audit_record import COLUMNS
from machines_mcp.storage.database import StoreUnavailable

if TYPE_CHECKING:
    import sqlite3

_USER, _CARD = COLUMNS.index("user_id"), COLUMNS.index("card_id")
_CARDS = "SELECT DISTINCT card_id FROM audit WHERE user_id = ? AND card_id IS NOT NULL"
_ROWS = (
    f"SELECT {', '.join(f'audit.{name}' for name in COLUMNS)}, mac, seal"  # noqa: S608 - constants only
    " FROM audit LEFT JOIN audit_forgotten USING (seq)"
    " WHERE user_id = ? OR (user_id IS NULL AND card_id IS NOT NULL) ORDER BY seq"
)


def replace_user(db: sqlite3.Connection, key: bytes, user: str, cards: Collection[str]) -> tuple[str, int]:
    """Replace the user and the user's cards, as the log records them, by random pseudonyms in every row.

    Return the user's pseudonym, and the number of rows that changed. Rows of other users stay as they are.

    Raises:
        StoreUnavailable: A row was tampered with.
    """
    pseudonym, names = f"forgotten-{_letters()}", {card: f"forgotten-card-{_letters()}" for card in cards}
    with tolerant(db):
        names |= {row[0]: f"forgotten-card-{_letters()}" for row in db.execute(_CARDS, (user,))}
        changed = 0
        for *columns, mac, seal in db.execute(_ROWS, (user,)).fetchall():
            if columns[_USER] is None and columns[_CARD] not in names:
                continue
            before = mac_of(db, columns[0] - 1)
            if not whole(key, before, tuple(columns), mac, seal):
                raise StoreUnavailable("The audit log was tampered with. Run machines-mcp audit verify.")
            columns[_USER] = None if columns[_USER] is None else pseudonym
            columns[_CARD] = names.get(columns[_CARD])
            values = (columns[_USER], columns[_CARD], columns[0])
            db.execute("UPDATE audit SET user_id = ?, card_id = ? WHERE seq = ?", values)
            new = forgotten_seal(key, before, mac, tuple(columns))
            db.execute("INSERT OR REPLACE INTO audit_forgotten VALUES (?, ?)", (columns[0], new))
            changed += 1
    return pseudonym, changed


def _letters() -> str:
    """Return 60 random bits as letters: digits could look like a card number."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(13))

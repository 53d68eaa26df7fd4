"""The transactions of signed withdrawals: what the admin signs, the sent hash, and the block.

    signed -> sent -> done
           <- (it reverted, and the signature still lives)

A row is made when Machines signs. Times are epoch seconds.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.principal import OF_PRINCIPAL, Principal

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store

TransactionState = Literal["signed", "sent", "done"]

SALT_BYTES = 32
# A sent transaction may be mined long after its signature expired, or never.
SENT_SECONDS = 24 * 60 * 60
_OPEN = "state <> 'done' AND expires_at > :since AND (state = 'sent' OR expires_at > :now)"


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is known of a withdrawal's transaction."""

    withdrawal_id: Verbatim
    user_id: str
    state: TransactionState
    expires_at: float
    sender: Verbatim | None = None
    nonce: int | None = None
    salt: bytes | None = None
    admin_signature: bytes | None = None
    hash: Verbatim | None = None
    block: int | None = None


class Transactions:
    """The transactions of one state folder. `clock` returns epoch seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def find(self, withdrawal_id: str) -> Transaction | None:
        """Return the transaction of a withdrawal, or None."""
        query = "SELECT * FROM transactions WHERE withdrawal_id = ?"
        row = await self._store.read(lambda db: db.execute(query, (withdrawal_id,)).fetchone())
        return None if row is None else _transaction(row)

    async def begin(self, withdrawal_id: str, expires_at: float) -> Transaction:
        """Return the row of a signed withdrawal, and add it if there is none: an older version signed it."""
        now = self._clock()

        def work(db: sqlite3.Connection) -> Transaction:
            add_transaction(db, withdrawal_id, expires_at, now)
            query = "SELECT * FROM transactions WHERE withdrawal_id = ?"
            return _transaction(db.execute(query, (withdrawal_id,)).fetchone())

        return await self._store.run(work)

    async def salt(self, withdrawal_id: str, nonce: int) -> bytes:
        """Return the admin's salt for a nonce: 32 random bytes, and the same again for the same nonce."""
        now, fresh = self._clock(), secrets.token_bytes(SALT_BYTES)

        def work(db: sqlite3.Connection) -> bytes:
            # One statement decides, so that two calls at once get the same.
            made = (
                "UPDATE transactions SET nonce = :nonce, salt = :salt, admin_signature = NULL, updated_at = :now"
                " WHERE withdrawal_id = :id AND (salt IS NULL OR nonce <> :nonce)"
            )
            db.execute(made, {"nonce": str(nonce), "salt": fresh.hex(), "now": now, "id": withdrawal_id})
            query = "SELECT salt FROM transactions WHERE withdrawal_id = ?"
            return bytes.fromhex(db.execute(query, (withdrawal_id,)).fetchone()[0])

        return await self._store.run(work)

    async def planned(
        self,
        withdrawal_id: str,
        sender: str,
        nonce: int | None,
        salt: bytes | None = None,
        admin_signature: bytes | None = None,
    ) -> None:
        """Store what a plan was made with, unless another call made a new salt since: the signature is of `salt`."""
        what = "sender = :sender, nonce = coalesce(:nonce, nonce), admin_signature = coalesce(:sig, admin_signature)"
        values = {
            "sender": sender,
            "nonce": None if nonce is None else str(nonce),
            "salt": None if salt is None else salt.hex(),
            "sig": None if admin_signature is None else admin_signature.hex(),
        }
        await self._change(withdrawal_id, what, values, only="salt IS :salt")

    async def sent(self, withdrawal_id: str, transaction_hash: str) -> None:
        """Record that the wallet sent it. A done one stays done."""
        await self._change(withdrawal_id, "state = 'sent', hash = :hash", {"hash": transaction_hash})

    async def take_back(self, withdrawal_id: str, transaction_hash: str, earlier: str | None = None) -> None:
        """Take back a hash that moved nothing, unless a newer one is recorded. `earlier` is recorded again."""
        values = {"hash": transaction_hash, "earlier": earlier, "state": "signed" if earlier is None else "sent"}
        await self._change(withdrawal_id, "state = :state, hash = :earlier", values, only="hash = :hash")

    async def done(self, withdrawal_id: str, transaction_hash: str, block: int | None) -> Transaction | None:
        """Record that it moved the money, if nothing else is recorded as done. Return what is recorded now.

        A transaction pays one withdrawal: one that is done by it already leaves this one as it is.
        """
        now = self._clock()

        def work(db: sqlite3.Connection) -> sqlite3.Row | None:
            change = (
                "UPDATE transactions SET state = 'done', hash = :hash, block = :block, updated_at = :now"
                " WHERE withdrawal_id = :id AND state <> 'done'"
                " AND NOT EXISTS (SELECT 1 FROM transactions WHERE hash = :hash AND state = 'done')"
            )
            db.execute(change, {"hash": transaction_hash, "block": block, "now": now, "id": withdrawal_id})
            query = "SELECT * FROM transactions WHERE withdrawal_id = ?"
            row: sqlite3.Row | None = db.execute(query, (withdrawal_id,)).fetchone()
            return row

        row = await self._store.run(work)
        return None if row is None else _transaction(row)

    async def _change(
        self, withdrawal_id: str, what: str, values: Mapping[str, str | None], only: str = "true"
    ) -> None:
        """Change the row if it is not done, and `only` holds."""
        change = f"UPDATE transactions SET {what}, updated_at = :now WHERE withdrawal_id = :id AND state <> 'done'"  # noqa: S608
        bound = {**values, "now": self._clock(), "id": withdrawal_id}
        await self._store.run(lambda db: db.execute(f"{change} AND {only}", bound))


def add_transaction(db: sqlite3.Connection, withdrawal_id: str, expires_at: float, now: float) -> None:
    """Add the row of a signed withdrawal within the caller's transaction, unless there is one."""
    add = (
        "INSERT INTO transactions (withdrawal_id, user_id, state, expires_at, updated_at)"
        " SELECT id, user_id, 'signed', ?, ? FROM withdrawals WHERE id = ? ON CONFLICT DO NOTHING"
    )
    db.execute(add, (expires_at, now, withdrawal_id))


def open_transactions(db: sqlite3.Connection, principal: Principal, now: float) -> list[Transaction]:
    """Return the transactions that wait for a signature or a receipt, the first to expire first."""
    query = f"SELECT * FROM transactions WHERE {_OPEN} AND {OF_PRINCIPAL} ORDER BY expires_at"  # noqa: S608 - constants
    return [_transaction(row) for row in db.execute(query, principal.bound | {"now": now, "since": now - SENT_SECONDS})]


def _transaction(row: sqlite3.Row) -> Transaction:
    return Transaction(
        withdrawal_id=Verbatim(row["withdrawal_id"]),
        user_id=row["user_id"],
        state=row["state"],
        expires_at=row["expires_at"],
        sender=None if row["sender"] is None else Verbatim(row["sender"]),
        nonce=None if row["nonce"] is None else int(row["nonce"]),
        salt=None if row["salt"] is None else bytes.fromhex(row["salt"]),
        admin_signature=None if row["admin_signature"] is None else bytes.fromhex(row["admin_signature"]),
        hash=None if row["hash"] is None else Verbatim(row["hash"]),
        block=row["block"],
    )

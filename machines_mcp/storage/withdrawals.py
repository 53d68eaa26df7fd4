"""Quotes and withdrawals, and the rows that link each withdrawal to its quote.

    requested -> pending -> requested (the poll) -> ready | ...
              -> rejected | unknown
              -> not_begun (the quote can be used again)

`requested` means that a request was sent and its answer is not recorded. `pending` means that the last request was
answered with `pending`. Only a `pending` withdrawal may be requested again.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.failpoints import failpoint
from machines_mcp.storage.transactions import add_transaction
from machines_mcp.storage.withdrawal_rows import WithdrawalRow, withdrawal_rows

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.database import Store

QUOTE_SECONDS = 10 * 60


@dataclass(frozen=True, slots=True)
class Destination:
    """Where money goes. `extra_id` is the network's memo, tag or payment id."""

    currency: str
    network: str
    address: str
    extra_id: str | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """The terms that a person saw. The withdrawal is created from `terms` unchanged."""

    id: Verbatim
    user_id: str
    terms: Mapping[str, Any]
    expires_at: float
    used_by: str | None


@dataclass(frozen=True, slots=True)
class StartedWithdrawal:
    """The withdrawal of an approval: its quote, its status, and the newest recorded answer of the API.

    `updated_at` is when the status was recorded.
    """

    id: Verbatim
    quote: Quote
    status: str
    answer: Mapping[str, Any] | None
    updated_at: float
    approval_id: str | None = None


class UsedDestination(NamedTuple):
    """A destination of a user's withdrawals: how many, when the last one began, and the largest, in US cents."""

    destination: Destination
    times: int
    last_at: float
    largest_cents: int


class Withdrawals:
    """The quotes and withdrawals of one state folder. Times are epoch seconds by `clock`."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def live(self, quote: Quote) -> bool:
        """Whether the quote can still be used."""
        return quote.used_by is None and quote.expires_at > self._clock()

    async def quote(self, user_id: str, terms: Mapping[str, Any]) -> Quote:
        """Store the terms under a new id, valid for 10 minutes."""
        now = self._clock()
        quote = Quote(Verbatim(f"quote_{secrets.token_hex(16)}"), user_id, terms, now + QUOTE_SECONDS, None)
        row = (quote.id, user_id, json.dumps(terms), now, quote.expires_at)
        await self._store.run(
            lambda db: db.execute(
                "INSERT INTO quotes (id, user_id, terms, created_at, expires_at) VALUES (?, ?, ?, ?, ?)", row
            )
        )
        return quote

    async def find_quote(self, user_id: str, quote_id: str) -> Quote | None:
        """Return the quote with this id if it belongs to this user, else None."""

        def work(db: sqlite3.Connection) -> Quote | None:
            row = db.execute("SELECT * FROM quotes WHERE id = ? AND user_id = ?", (quote_id, user_id)).fetchone()
            if row is None:
                return None
            return _quote(row)

        return await self._store.read(work)

    async def for_approval(self, approval_id: str) -> StartedWithdrawal | None:
        """Return the newest withdrawal begun for this approval, or None."""

        return await self._newest("approval_id = ?", approval_id)

    async def find(self, withdrawal_id: str) -> StartedWithdrawal | None:
        """Return the withdrawal with this id, or None."""
        return await self._newest("id = ?", withdrawal_id)

    async def _newest(self, where: str, value: str) -> StartedWithdrawal | None:
        def work(db: sqlite3.Connection) -> StartedWithdrawal | None:
            query = f"SELECT * FROM withdrawals WHERE {where} ORDER BY rowid DESC LIMIT 1"  # noqa: S608 - constants
            row = db.execute(query, (value,)).fetchone()
            if row is None:
                return None
            quote = _quote(db.execute("SELECT * FROM quotes WHERE id = ?", (row["quote_id"],)).fetchone())
            answer = None if row["execution"] is None else json.loads(row["execution"])
            return StartedWithdrawal(
                Verbatim(row["id"]), quote, row["status"], answer, row["updated_at"], row["approval_id"]
            )

        return await self._store.read(work)

    async def destinations(self, user_id: str) -> list[UsedDestination]:
        """Return the destinations to which this state folder may have sent money of this user."""

        def work(db: sqlite3.Connection) -> list[UsedDestination]:
            rows = db.execute(
                "SELECT json_extract(terms, '$.currency'), json_extract(terms, '$.network'),"
                " json_extract(terms, '$.address'), json_extract(terms, '$.extra_id'),"
                " count(*), max(withdrawals.created_at), max(coalesce(json_extract(terms, '$.amount_cents'), 0))"
                " FROM withdrawals JOIN quotes ON quotes.id = withdrawals.quote_id"
                " WHERE withdrawals.user_id = ? AND status NOT IN ('rejected', 'not_begun') GROUP BY 1, 2, 3, 4",
                (user_id,),
            )
            return [UsedDestination(Destination(*row[:4]), *row[4:]) for row in rows]

        return await self._store.read(work)

    async def newest(self, user_id: str, limit: int) -> tuple[list[WithdrawalRow], int]:
        """Return the user's newest withdrawals, newest first and at most `limit`, and how many there are."""
        return await self._store.read(lambda db: withdrawal_rows(db, user_id, limit))

    async def begin(self, quote: Quote, approval_id: str | None) -> Verbatim | None:
        """Use up the quote for a new withdrawal and return its id; None if the quote was used or has expired.

        Like a journal entry, the row stores the id of the approval being executed.
        """
        now = self._clock()
        new_id = Verbatim(f"wd_{secrets.token_hex(16)}")

        def work(db: sqlite3.Connection) -> Verbatim | None:
            used = db.execute(
                "UPDATE quotes SET used_by = ? WHERE id = ? AND used_by IS NULL AND expires_at > ?",
                (new_id, quote.id, now),
            )
            if used.rowcount != 1:
                return None
            db.execute(
                "INSERT INTO withdrawals (id, user_id, quote_id, status, created_at, updated_at, approval_id)"
                " VALUES (?, ?, ?, 'requested', ?, ?, ?)",
                (new_id, quote.user_id, quote.id, now, now, approval_id),
            )
            return new_id

        begun = await self._store.run(work)
        failpoint("quote.used")
        return begun

    async def release(self, withdrawal_id: str) -> None:
        """Undo `begin` if the API was not reached or did nothing, so that the quote can be used again."""
        now = self._clock()

        def work(db: sqlite3.Connection) -> None:
            quote = "id = (SELECT quote_id FROM withdrawals WHERE id = ?) AND used_by = ?"
            db.execute(f"UPDATE quotes SET used_by = NULL WHERE {quote}", (withdrawal_id, withdrawal_id))  # noqa: S608
            values = (now, withdrawal_id)
            db.execute("UPDATE withdrawals SET status = 'not_begun', updated_at = ? WHERE id = ?", values)

        await self._store.run(work)

    async def record(
        self,
        withdrawal_id: str,
        status: str,
        execution: Mapping[str, Any] | None = None,
        signed_until: float | None = None,
    ) -> None:
        """Record the API's answer: the status, and the transaction parameters once they are available.

        `signed_until` is when the signature in it expires, None without one.
        """

        def work(db: sqlite3.Connection) -> None:
            self.record_in(db, withdrawal_id, status, execution)
            if signed_until is not None:
                add_transaction(db, withdrawal_id, signed_until, self._clock())

        await self._store.run(work)
        failpoint("withdrawal.recorded")

    def record_in(
        self, db: sqlite3.Connection, withdrawal_id: str, status: str, execution: Mapping[str, Any] | None = None
    ) -> None:
        """Like `record`, within the caller's transaction."""
        text = None if execution is None else json.dumps(execution)
        change = "UPDATE withdrawals SET status = ?, execution = COALESCE(?, execution), updated_at = ? WHERE id = ?"
        db.execute(change, (status, text, self._clock(), withdrawal_id))


def prune_quotes(db: sqlite3.Connection, before: float) -> int:
    """Delete the quotes that expired unused before that time (epoch seconds). Return how many."""
    unused = "used_by IS NULL AND NOT EXISTS (SELECT 1 FROM withdrawals WHERE quote_id = quotes.id)"
    return db.execute(f"DELETE FROM quotes WHERE expires_at < ? AND {unused}", (before,)).rowcount  # noqa: S608


def _quote(row: sqlite3.Row) -> Quote:
    return Quote(Verbatim(row["id"]), row["user_id"], json.loads(row["terms"]), row["expires_at"], row["used_by"])

"""The ledger: a user's collateral, charges and transactions, in cents."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox.cursors import read_cursor, write_cursor
from machines_mcp.sandbox.envelope import Success
from machines_mcp.sandbox.ids import new_id
from machines_mcp.sandbox.totals import totals_at

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.fields import Fields
    from machines_mcp.sandbox.state import State

TYPES: Final = ("spend", "collateral", "payment", "fee")
DEFAULT_PAGE: Final = 50


@dataclass(frozen=True)
class Standing:
    """A user's balances. `collateral` is deposits minus withdrawals, including held amounts."""

    collateral: int
    pending_charges: int
    posted_charges: int

    @property
    def spending_power(self) -> int:
        return self.collateral - self.pending_charges - self.posted_charges


def enter(state: State, user_id: str, kind: str, amount_cents: int, *, at: float, **more: Any) -> str:
    """Write an entry dated `at` (possibly in the future), and return its id. `posts_at` defaults to `at`."""
    entry_id = new_id()
    columns = {"posts_at": at, **more}
    state.insert(
        "entries", entry_id=entry_id, user_id=user_id, type=kind, amount_cents=amount_cents, created_at=at, **columns
    )
    return entry_id


def standing(state: State, user_id: str) -> Standing:
    """Return the user's current balances."""
    now = state.clock.now()
    money = totals_at(state, user_id, now)
    held = state.number(
        "SELECT sum(amount_cents) FROM withdrawals WHERE user_id = ? AND held_until > ?",
        *(user_id, now),
    )
    return Standing(money.collateral - held, money.pending_charges, money.posted_charges)


def balances(call: Call) -> Success:
    """GET /balances."""
    money = standing(call.state, call.user.user_id)
    data = {
        "spendingPower": money.spending_power,
        "creditLimit": money.collateral,
        "pendingCharges": money.pending_charges,
        "postedCharges": money.posted_charges,
        "balanceDue": money.posted_charges,
    }
    return Success({"balances": data}, "balances")


def transactions(call: Call) -> Success:
    """GET /transactions: newest first, without entries dated in the future."""
    fields = call.query()
    limit = fields.optional_integer("limit", least=1, most=200) or DEFAULT_PAGE
    kinds = _kinds(fields)
    card_id = _card_id(fields)
    before, before_id = _before(fields) if fields.has("cursor") else (call.now, "~")
    # One query per type, each along the index by type, so that a rare type does not scan all the others.
    found = [row for kind in kinds for row in _of_kind(call, kind, card_id, (before, before_id), limit + 1)]
    rows = sorted(found, key=lambda row: (row["created_at"], row["entry_id"]), reverse=True)
    data: dict[str, Any] = {"transactions": [_view(call, row) for row in rows[:limit]]}
    if len(rows) > limit:
        data["nextCursor"] = write_cursor(rows[limit - 1]["created_at"], rows[limit - 1]["entry_id"])
    return Success(data, "transactions")


def _of_kind(call: Call, kind: str, card_id: str | None, before: tuple[float, str], limit: int) -> list[sqlite3.Row]:
    """Return the newest entries of one type older than `before`, without those dated in the future."""
    of_card, card = ("", ()) if card_id is None else (" AND card_id = ?", (card_id,))
    return call.state.rows(
        "SELECT * FROM entries WHERE user_id = ? AND type = ? AND created_at <= ?"  # noqa: S608
        f" AND (created_at, entry_id) < (?, ?){of_card} ORDER BY created_at DESC, entry_id DESC LIMIT ?",
        *(call.user.user_id, kind, min(call.now, before[0]), *before, *card, limit),
    )


def _kinds(fields: Fields) -> tuple[str, ...]:
    text = fields.optional_text("type")
    if text is None:
        return TYPES
    kinds = tuple(dict.fromkeys(text.split(",")))
    if not set(kinds) <= set(TYPES):
        fields.refuse("type", "must be a comma-separated list of documented types")
    return kinds


def _card_id(fields: Fields) -> str | None:
    card_id = fields.optional_text("cardId")
    try:
        return None if card_id is None else str(uuid.UUID(card_id))
    except ValueError:
        fields.refuse("cardId", "must be a uuid")


def _before(fields: Fields) -> tuple[float, str]:
    moment, entry_id = read_cursor(fields)
    try:
        return moment, str(uuid.UUID(entry_id))
    except ValueError:
        fields.refuse("cursor", "must be a cursor from an earlier response")


def _view(call: Call, row: sqlite3.Row) -> dict[str, Any]:
    posted = "posted" if row["posts_at"] <= call.now else "pending"
    view = {
        "transactionId": row["entry_id"],
        "type": row["type"],
        "status": "declined" if row["declined"] else posted,
        "amountCents": row["amount_cents"],
        "currency": "USD",
        "createdAt": call.iso(row["created_at"]),
    }
    merchant = row["merchant_name"] and (call.state.texts.at("merchant") or row["merchant_name"])
    optional = {"merchantName": merchant, "cardId": row["card_id"]}
    return view | {name: value for name, value in optional.items() if value is not None}

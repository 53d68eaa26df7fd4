"""The ledger: what a user's collateral, charges and transactions are at this moment, in cents."""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox.envelope import Answer

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.fields import Fields
    from machines_mcp.sandbox.state import State

TYPES: Final = ("spend", "collateral", "payment", "fee")
DEFAULT_PAGE: Final = 50


@dataclass(frozen=True)
class Standing:
    """A user's money: `collateral` is what deposits brought and withdrawals left."""

    collateral: int
    pending_charges: int
    posted_charges: int

    @property
    def spending_power(self) -> int:
        return self.collateral - self.pending_charges - self.posted_charges


def enter(state: State, user_id: str, kind: str, amount_cents: int, *, at: float, **more: Any) -> str:
    """Write an entry that is there from `at` on (it may lie ahead) and posted at once unless `posts_at` says when."""
    entry_id = str(uuid.uuid4())
    columns = {"posts_at": at, **more}
    state.insert(
        "entries", entry_id=entry_id, user_id=user_id, type=kind, amount_cents=amount_cents, created_at=at, **columns
    )
    return entry_id


def standing(state: State, user_id: str) -> Standing:
    """The user's money at this moment."""
    now = state.clock.now()
    total = "SELECT sum(amount_cents) FROM entries WHERE user_id = ? AND created_at <= ? AND NOT declined AND type"
    collateral = state.number(f"{total} = 'collateral'", user_id, now)
    held = state.number(
        "SELECT sum(amount_cents) FROM withdrawals WHERE user_id = ? AND held_until > ?",
        *(user_id, now),
    )
    pending = state.number(f"{total} IN ('spend', 'fee') AND posts_at > ?", user_id, now, now)
    posted = state.number(f"{total} IN ('spend', 'fee') AND posts_at <= ?", user_id, now, now)
    return Standing(collateral - held, pending, posted)


def balances(call: Call) -> Answer:
    """GET /balances."""
    money = standing(call.state, call.user.user_id)
    data = {
        "spendingPower": money.spending_power,
        "creditLimit": money.collateral,
        "pendingCharges": money.pending_charges,
        "postedCharges": money.posted_charges,
        "balanceDue": money.posted_charges,
    }
    return Answer({"balances": data}, "balances")


def transactions(call: Call) -> Answer:
    """GET /transactions: newest first; what lies ahead is not there yet."""
    fields = call.query()
    limit = fields.optional_integer("limit", least=1, most=200) or DEFAULT_PAGE
    kinds = _kinds(fields)
    card_id = _card_id(fields)
    before, before_id = _read_cursor(fields) if fields.has("cursor") else (call.now, "~")
    marks = ", ".join("?" * len(kinds))
    rows = call.state.rows(
        "SELECT * FROM entries WHERE user_id = ? AND created_at <= ? AND (created_at, entry_id) < (?, ?)"  # noqa: S608
        f" AND type IN ({marks}) AND (? IS NULL OR card_id = ?) ORDER BY created_at DESC, entry_id DESC LIMIT ?",
        *(call.user.user_id, call.now, before, before_id, *kinds, card_id, card_id, limit + 1),
    )
    data: dict[str, Any] = {"transactions": [_view(call, row) for row in rows[:limit]]}
    if len(rows) > limit:
        data["nextCursor"] = _write_cursor(rows[limit - 1])
    return Answer(data, "transactions")


def _kinds(fields: Fields) -> tuple[str, ...]:
    text = fields.optional_text("type")
    if text is None:
        return TYPES
    kinds = tuple(dict.fromkeys(text.split(",")))
    if not set(kinds) <= set(TYPES):
        fields.refuse("type", "must be a comma list of documented types")
    return kinds


def _card_id(fields: Fields) -> str | None:
    card_id = fields.optional_text("cardId")
    try:
        return None if card_id is None else str(uuid.UUID(card_id))
    except ValueError:
        fields.refuse("cardId", "must be a uuid")


def _write_cursor(row: sqlite3.Row) -> str:
    return base64.urlsafe_b64encode(f"{row['created_at']!r} {row['entry_id']}".encode()).decode().rstrip("=")


def _read_cursor(fields: Fields) -> tuple[float, str]:
    text = fields.text("cursor")
    try:
        moment, entry_id = base64.b64decode(text + "=" * (-len(text) % 4), "-_", validate=True).decode().split(" ")
        return float(moment), str(uuid.UUID(entry_id))
    except (binascii.Error, ValueError):
        fields.refuse("cursor", "must be a cursor of an earlier answer")


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
    optional = {"merchantName": row["merchant_name"], "cardId": row["card_id"]}
    return view | {name: value for name, value in optional.items() if value is not None}

"""Cards: create, lock, unlock, limit, label and close them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox.card_numbers import new_cvc, new_number
from machines_mcp.sandbox.contracts import contracts_of
from machines_mcp.sandbox.envelope import Success, conflict, not_found
from machines_mcp.sandbox.fields import MAX_CENTS
from machines_mcp.sandbox.idempotency import once
from machines_mcp.sandbox.ids import new_id
from machines_mcp.sandbox.labels import encrypted, encrypted_field

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.fields import Fields

BRAND: Final = "VISA"
YEARS_VALID: Final = 3
STATUSES: Final = ("active", "locked", "canceled", "not_activated")
LABELS: Final = ("encryptedName", "encryptedColor", "encryptedEmoji", "encryptedMemo")
# Length of each limit's window in seconds, None for all time. `perAuthorization` counts the current charge only.
FREQUENCIES: Final[dict[str, float | None]] = {
    "perAuthorization": 0.0,
    "per24HourPeriod": 86_400.0,
    "per7DayPeriod": 7 * 86_400.0,
    "per30DayPeriod": 30 * 86_400.0,
    "perYearPeriod": 365 * 86_400.0,
    "allTime": None,
}
DEFAULT_PAGE: Final = 50
# The purpose for sealing number and CVC in the state.
SEALED_AS: Final = "card number and cvc"


def create(call: Call) -> Success:
    """POST /cards."""
    fields = call.body()
    labels, limit = _labels(fields), _limit(fields)
    return once(call, "cards", lambda: _create(call, labels, limit))


def _create(call: Call, labels: dict[str, Any], limit: tuple[int, str] | None) -> Success:
    number = new_number()
    card_id = new_id()
    today = datetime.fromtimestamp(call.now, UTC)
    limit_cents, limit_frequency = limit or (None, None)
    call.state.insert(
        "cards",
        card_id=card_id,
        user_id=call.user.user_id,
        position=call.state.number("SELECT max(position) + 1 FROM cards WHERE user_id = ?", call.user.user_id),
        created_at=call.now,
        status="active",
        last4=number[-4:],
        expiration_month=today.month,
        expiration_year=today.year + YEARS_VALID,
        number_and_cvc=call.state.seal(f"{number} {new_cvc()}", SEALED_AS),
        limit_cents=limit_cents,
        limit_frequency=limit_frequency,
        labels=json.dumps(labels),
    )
    return Success(_view(call, find(call, card_id)), "card created")


def list_all(call: Call) -> Success:
    """GET /cards: newest first, including closed cards."""
    fields = call.query()
    limit = fields.optional_integer("limit", least=1, most=100) or DEFAULT_PAGE
    cursor = fields.optional_text("cursor", pattern="[0-9]{1,15}")
    before = 2**53 if cursor is None else int(cursor)
    rows = call.state.rows(
        "SELECT * FROM cards WHERE user_id = ? AND position < ? ORDER BY position DESC LIMIT ?",
        *(call.user.user_id, before, limit + 1),
    )
    data: dict[str, Any] = {"cards": [_read(call, row) for row in rows[:limit]]}
    if len(rows) > limit:
        data["nextCursor"] = str(rows[limit - 1]["position"])
    return Success(data, "card list" if rows else "no cards")


def read(call: Call) -> Success:
    """GET /cards/{cardId}."""
    return Success(_read(call, find(call, call.named("cardId"))), "card")


def update(call: Call) -> Success:
    """PATCH /cards/{cardId}: change only the given fields."""
    card_id = call.named("cardId")
    row = find(call, card_id)
    fields = call.body()
    status = fields.optional_choice("status", STATUSES) or row["status"]
    labels = json.loads(row["labels"]) | _labels(fields)
    limit = _limit(fields) or (row["limit_cents"], row["limit_frequency"])
    if row["status"] == "canceled":
        raise conflict("card is canceled")
    if status == "not_activated" != row["status"]:
        raise conflict("card is already activated")
    deleted_at = call.now if status == "canceled" else None
    call.state.db.execute(
        "UPDATE cards SET status = ?, deleted_at = ?, limit_cents = ?, limit_frequency = ?, labels = ?"
        " WHERE card_id = ?",
        (status, deleted_at, *limit, json.dumps(labels), card_id),
    )
    return Success(_view(call, find(call, card_id)), "card updated")


def delete(call: Call) -> Success:
    """DELETE /cards/{cardId}: close the card. A repeat returns the same response."""
    card_id = call.named("cardId")
    row = find(call, card_id)
    if row["status"] != "canceled":
        call.state.db.execute(
            "UPDATE cards SET status = 'canceled', deleted_at = ? WHERE card_id = ?", (call.now, card_id)
        )
        row = find(call, card_id)
    data = {"cardId": card_id, "status": row["status"], "deletedAt": call.iso(row["deleted_at"])}
    return Success(data, "card deleted")


def find(call: Call, card_id: str) -> sqlite3.Row:
    """Return the caller's card; 404 for another user's."""
    row = call.state.row("SELECT * FROM cards WHERE card_id = ? AND user_id = ?", card_id, call.user.user_id)
    if row is None:
        raise not_found()
    return row


def limit_of(row: sqlite3.Row) -> dict[str, Any] | None:
    """Return a card's limit as the API does; None if it has none."""
    if row["limit_cents"] is None:
        return None
    return {"amountCents": row["limit_cents"], "frequency": row["limit_frequency"]}


def _labels(fields: Fields) -> dict[str, Any]:
    return {name: encrypted_field(fields, name) for name in LABELS if fields.has(name)}


def _limit(fields: Fields) -> tuple[int, str] | None:
    limit = fields.optional_child("limit")
    if limit is None:
        return None
    return limit.integer("amountCents", least=1, most=MAX_CENTS), limit.choice("frequency", FREQUENCIES)


def _read(call: Call, row: sqlite3.Row) -> dict[str, Any]:
    """Return a card as reads do: with the control's label, if there is one."""
    said = call.state.texts.at("label")
    return _view(call, row) | ({"encryptedName": encrypted(call.state, row["user_id"], said)} if said else {})


def _view(call: Call, row: sqlite3.Row) -> dict[str, Any]:
    labels = json.loads(row["labels"])
    return {
        "cardId": row["card_id"],
        "status": row["status"],
        "last4": row["last4"],
        "expirationMonth": row["expiration_month"],
        "expirationYear": row["expiration_year"],
        "brand": BRAND,
        "limit": limit_of(row),
        **{name: labels.get(name) for name in LABELS},
        "isPinned": False,
        "sortOrder": row["position"],
        "folderId": None,
        "contractId": contracts_of(call.user)[0].contract_id,
        "createdAt": call.iso(row["created_at"]),
    }

"""The control's summary: the newest users, and their cards, deposits and withdrawals."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox import cards, deposits, labels, ledger, users, withdrawals
from machines_mcp.sandbox.clock import iso
from machines_mcp.sandbox.cursors import read_cursor, write_cursor
from machines_mcp.sandbox.envelope import Success
from machines_mcp.sandbox.live_signatures import seconds_left

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.sandbox.fields import Fields
    from machines_mcp.sandbox.state import State

DEFAULT_USERS: Final = 50
MAX_USERS: Final = 200


def summary(state: State, fields: Fields) -> Success:
    """GET /control ?limit=&cursor=: list the newest users and their progress: `limit` users (default 50) and as many
    cards, deposits and withdrawals of each. Each `leftOff` counts the older ones. The response contains no secrets.
    """
    limit = fields.optional_integer("limit", least=1, most=MAX_USERS) or DEFAULT_USERS
    before = read_cursor(fields) if fields.has("cursor") else (math.inf, "")
    older = "FROM users WHERE (created_at, user_id) < (?, ?)"
    rows = state.rows(
        f"SELECT created_at, user_id {older} ORDER BY created_at DESC, user_id DESC LIMIT ?", *before, limit
    )
    left_off = state.number(f"SELECT count(*) {older}", *before) - len(rows)
    data = {
        "now": iso(state.clock.now()),
        "clockAheadSeconds": state.clock.offset,
        "faults": state.faults.view(),
        "rateLimit": state.rate.view(),
        "slowProvisioning": state.provisioning.is_slow,
        "keysHonoured": state.keys.honoured,
        "saltForm": state.salts.form,
        "texts": state.texts.view(),
        "users": [_user(state, row["user_id"], limit) for row in rows],
        "leftOff": left_off,
    }
    if left_off:
        data["nextCursor"] = write_cursor(rows[-1]["created_at"], rows[-1]["user_id"])
    return Success(data, "state")


def _user(state: State, user_id: str, limit: int) -> dict[str, Any]:
    user = users.find(state, user_id)
    card_rows = state.rows("SELECT * FROM cards WHERE user_id = ? ORDER BY position DESC LIMIT ?", user_id, limit)
    deposit_rows = deposits.newest(state, user_id, limit)
    withdrawal_rows = withdrawals.newest(state, user_id, limit)
    made, deposited, withdrawn = (
        state.number(f"SELECT count(*) FROM {table} WHERE user_id = ?", user_id)  # noqa: S608
        for table in ("cards", "deposits", "withdrawals")
    )
    now = state.clock.now()
    return {
        "userId": user_id,
        "kycStatus": user.kyc_status if user else None,
        "agreementsAccepted": bool(user and user.agreements_at is not None),
        "spendingPower": ledger.standing(state, user_id).spending_power,
        "deposits": [deposits.outline(row, now) for row in deposit_rows],
        "cards": [_card(state, user_id, row) for row in card_rows],
        "leftOff": {
            "cards": made - len(card_rows),
            "deposits": deposited - len(deposit_rows),
            "withdrawals": withdrawn - len(withdrawal_rows),
        },
        "withdrawals": {
            "pending": state.number("SELECT count(*) FROM withdrawals WHERE user_id = ? AND answer IS NULL", user_id),
            "ready": state.number("SELECT count(*) FROM withdrawals WHERE user_id = ? AND answer NOT NULL", user_id),
            "signatureSecondsLeft": math.ceil(seconds_left(state, user_id)),
            "newest": [withdrawals.outline(row, now) for row in withdrawal_rows],
        },
    }


def _card(state: State, user_id: str, row: sqlite3.Row) -> dict[str, Any]:
    """Describe a card by its last four digits. Its number and CVC are not read."""
    return {
        "cardId": row["card_id"],
        "status": row["status"],
        "last4": row["last4"],
        "label": labels.readable(state, user_id, json.loads(row["labels"]).get("encryptedName")),
        "limit": cards.limit_of(row),
    }

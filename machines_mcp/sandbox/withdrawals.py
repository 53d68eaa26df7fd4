"""Withdrawals: the first request returns `pending`; the same request again returns a `ready` signature."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox import assets, prices, signatures
from machines_mcp.sandbox.assets import address_pattern
from machines_mcp.sandbox.envelope import Success
from machines_mcp.sandbox.fields import Fields
from machines_mcp.sandbox.idempotency import fingerprint, request_key, reused
from machines_mcp.sandbox.ids import new_id
from machines_mcp.sandbox.live_signatures import seconds_left
from machines_mcp.sandbox.wallets import check_wallet
from machines_mcp.sandbox.withdrawal_routes import amount_of, range_of, route_of, source_contract

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.state import State
    from machines_mcp.sandbox.withdrawal_routes import Route

RETRY_AFTER_SECONDS: Final = 1
# The operation under which keys are stored. One withdrawal can have any number of keys.
_KEYS: Final = "withdrawals"


def list_assets(call: Call) -> Success:
    """GET /withdrawals/assets."""
    fields = call.query()
    source = {
        inner: fields.values[name]
        for inner, name in (("chainId", "sourceChainId"), ("tokenAddress", "sourceTokenAddress"))
        if fields.has(name)
    }
    source_contract(call, Fields(source, "source."))
    return Success({"assets": assets.listing(fields, call.state.texts.at("asset"))}, "withdrawal assets")


def read_range(call: Call) -> Success:
    """POST /withdrawals/range."""
    return Success({"range": range_of(route_of(call, call.body()))}, "withdrawal range")


def estimate(call: Call) -> Success:
    """POST /withdrawals/estimate."""
    fields = call.body()
    route = route_of(call, fields)
    cents = amount_of(fields, route)
    data = range_of(route) | {
        "fromAmount": cents / 100,
        "fromAmountCents": cents,
        "estimatedToAmount": prices.in_units(route.to.ticker, cents, exchanged=route.exchanged),
        "rateId": new_id() if route.exchanged else None,
        "destinationExtraId": route.extra_id,
    }
    return Success({"estimate": data}, "withdrawal estimate")


def create(call: Call) -> Success:
    """POST /withdrawals: request a signature, or poll for it.

    A request is recognized by its key. With a new key, or none, it continues an equal request that is still pending.
    The documented client repeats its key, but the vendor's own client sends a new key each time.
    """
    fields = call.body()
    route = route_of(call, fields)
    cents = amount_of(fields, route)
    address = fields.child("destination").text("address", most=200, pattern=address_pattern(route.to.network))
    network = route.contract.settled.network
    admin = fields.optional_text("adminAddress", most=200, pattern=address_pattern(network))
    check_wallet(call.user, network, fields, "source")

    known = _of_key(call) or _pending_equal(call)
    if known is not None and known["answer"] is not None:
        return Success(json.loads(known["answer"]), "withdrawal signature")
    if known is None:
        signatures.check_covered(call, cents)
    withdrawal_id = new_id() if known is None else known["withdrawal_id"]
    if known is None:
        _ask(call, withdrawal_id, cents, route, address)
    _remember_key(call, withdrawal_id)
    wait = math.ceil(seconds_left(call.state, call.user.user_id))
    if known is None or wait:
        return _pending(max(RETRY_AFTER_SECONDS, wait))
    return signatures.sign(call, withdrawal_id, route, cents, address, admin)


def newest(state: State, user_id: str, limit: int) -> list[sqlite3.Row]:
    """Return the user's newest withdrawals, with the destination of those that have it."""
    return state.rows(
        "SELECT withdrawals.*, currency, network, address FROM withdrawals LEFT JOIN destinations USING (withdrawal_id)"
        " WHERE user_id = ? ORDER BY created_at DESC, withdrawal_id LIMIT ?",
        *(user_id, limit),
    )


def outline(row: sqlite3.Row, now: float) -> dict[str, Any]:
    """Describe a row of `newest` for the control. `executed` means that the signature was used."""
    if row["answer"] is None:
        status = "pending"
    elif row["held_until"] == 0:
        status = "executed"
    else:
        status = "signed" if row["held_until"] > now else "expired"
    return {
        "id": row["withdrawal_id"],
        "status": status,
        "amountCents": row["amount_cents"],
        "asset": None if row["currency"] is None else assets.label(row["currency"], row["network"]),
        "address": row["address"],
    }


def _ask(call: Call, withdrawal_id: str, cents: int, route: Route, address: str) -> None:
    """Store a pending withdrawal. It holds its amount for as long as a signature would."""
    call.state.insert(
        "withdrawals",
        withdrawal_id=withdrawal_id,
        user_id=call.user.user_id,
        fingerprint=fingerprint(call),
        created_at=call.now,
        amount_cents=cents,
        held_until=call.now + signatures.SIGNATURE_SECONDS,
    )
    call.state.insert(
        "destinations",
        withdrawal_id=withdrawal_id,
        currency=route.to.ticker,
        network=route.to.network.id,
        address=address,
    )


def _pending(seconds: int) -> Success:
    data = {
        "status": "pending",
        "retryAfterSeconds": seconds,
        "parameters": None,
        "signature": None,
        "expiresAt": None,
        "execution": None,
        "relay": None,
    }
    return Success(data, "withdrawal pending", seconds * 1000)


def _of_key(call: Call) -> sqlite3.Row | None:
    """Return the withdrawal that the request's key belongs to.

    Raises:
        Refusal: 409, if the key was used with another body.
    """
    row = call.state.row(
        "SELECT * FROM idempotency WHERE user_id = ? AND operation = ? AND request_key = ?",
        *(call.user.user_id, _KEYS, request_key(call)),
    )
    if row is None:
        return None
    if row["fingerprint"] != fingerprint(call):
        raise reused()
    return call.state.row("SELECT * FROM withdrawals WHERE withdrawal_id = ?", json.loads(row["answer"]))


def _pending_equal(call: Call) -> sqlite3.Row | None:
    return call.state.row(
        "SELECT * FROM withdrawals WHERE user_id = ? AND fingerprint = ? AND answer IS NULL ORDER BY created_at",
        *(call.user.user_id, fingerprint(call)),
    )


def _remember_key(call: Call, withdrawal_id: str) -> None:
    if (key := request_key(call)) is not None:
        call.state.db.execute(
            "INSERT OR IGNORE INTO idempotency (user_id, operation, request_key, fingerprint, answer)"
            " VALUES (?, ?, ?, ?, ?)",
            (call.user.user_id, _KEYS, key, fingerprint(call), json.dumps(withdrawal_id)),
        )

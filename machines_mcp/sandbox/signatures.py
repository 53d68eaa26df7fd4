"""Signatures that let a withdrawal execute on chain. A user has at most one live signature."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox import ledger
from machines_mcp.sandbox.addresses import new_address, new_memo
from machines_mcp.sandbox.envelope import Success, conflict
from machines_mcp.sandbox.ids import new_id

if TYPE_CHECKING:
    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.state import State
    from machines_mcp.sandbox.withdrawal_routes import Route

SIGNATURE_SECONDS: Final = 1800
# The settled tokens have 6 decimals.
_TOKEN_UNITS_PER_CENT: Final = 10_000
# Live: issued, not used (which ends its hold) and not expired.
_LIVE: Final = "FROM withdrawals WHERE user_id = ? AND answer NOT NULL AND held_until > ?"


def seconds_left(state: State, user_id: str) -> float:
    """Return how long the user's live signature still lasts; 0 without one."""
    now = state.clock.now()
    row = state.row(f"SELECT max(held_until) AS ends {_LIVE}", user_id, now)
    return 0.0 if row is None or row["ends"] is None else row["ends"] - now


def execute(state: State, user_id: str) -> int | None:
    """Use the user's live signature and debit the collateral; return the cents, or None without a live signature."""
    now = state.clock.now()
    row = state.row(f"SELECT withdrawal_id, amount_cents {_LIVE}", user_id, now)
    if row is None:
        return None
    state.db.execute("UPDATE withdrawals SET held_until = 0 WHERE withdrawal_id = ?", (row["withdrawal_id"],))
    ledger.enter(state, user_id, "collateral", -row["amount_cents"], at=now)
    return int(row["amount_cents"])


def check_covered(call: Call, cents: int) -> None:
    """Raise a 409 `insufficient_balance` if the spending power is below `cents`."""
    if ledger.standing(call.state, call.user.user_id).spending_power < cents:
        raise conflict("not enough spending power", code="insufficient_balance")


def sign(call: Call, withdrawal_id: str, route: Route, cents: int, address: str) -> Success:
    """Issue the signature of a pending withdrawal. Its amount is held until the signature is used or expires."""
    # The withdrawal's own hold must not count against it. It may also have lapsed in the meantime.
    call.state.db.execute("UPDATE withdrawals SET held_until = 0 WHERE withdrawal_id = ?", (withdrawal_id,))
    check_covered(call, cents)
    relay = _relay(route, address) if route.exchanged else None
    expires_at = int(call.now) + SIGNATURE_SECONDS
    recipient = address if relay is None else relay["payinAddress"]
    parameters = _parameters(route, cents, recipient, expires_at, call.state.salts.new())
    data = {
        "status": "ready",
        "retryAfterSeconds": None,
        "parameters": parameters,
        "signature": {"data": parameters[6], "salt": parameters[5], "parameters": parameters},
        "expiresAt": call.iso(expires_at),
        "execution": route.contract.execution(),
        "relay": relay,
    }
    call.state.db.execute(
        "UPDATE withdrawals SET answer = ?, held_until = ? WHERE withdrawal_id = ?",
        (json.dumps(data), expires_at, withdrawal_id),
    )
    return Success(data, "withdrawal signature")


def _parameters(route: Route, cents: int, recipient: str, expires_at: int, salt: str | list[int]) -> list[Any]:
    """Return the seven parameters in order, the amount in units of the token. On Solana all are strings."""
    contract, amount = route.contract, str(cents * _TOKEN_UNITS_PER_CENT)
    if contract.settled.network.family == "solana":
        signature = base64.b64encode(secrets.token_bytes(64)).decode()
        return [contract.proxy, contract.token, amount, recipient, str(expires_at), salt, signature]
    # 65 bytes: r, s and the recovery byte, which is 27 or 28.
    signature = f"0x{secrets.token_hex(64)}{27 + secrets.randbelow(2):02x}"
    return [contract.proxy, contract.token, amount, recipient, expires_at, salt, signature]


def _relay(route: Route, address: str) -> dict[str, Any]:
    settled = route.contract.settled
    return {
        "changeNowId": new_id().replace("-", "")[:14],
        "payinAddress": new_address(settled.network.family),
        "payinExtraId": new_memo() if settled.network.memo else None,
        "payoutAddress": address,
        "payoutExtraId": route.extra_id,
        "fromCurrency": settled.ticker,
        "fromNetwork": settled.network.id,
        "toCurrency": route.to.ticker,
        "toNetwork": route.to.network.id,
    }

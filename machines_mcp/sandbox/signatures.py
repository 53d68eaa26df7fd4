"""Signatures that let a withdrawal execute on chain. A user has at most one live signature."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox import chain_signatures, ledger
from machines_mcp.sandbox.addresses import new_address, new_memo
from machines_mcp.sandbox.envelope import Success, conflict
from machines_mcp.sandbox.ids import new_id
from machines_mcp.sandbox.live_signatures import live, use

if TYPE_CHECKING:
    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.state import State
    from machines_mcp.sandbox.withdrawal_routes import Route

SIGNATURE_SECONDS: Final = 1800


def execute(state: State, user_id: str) -> int | None:
    """Use the user's live signature and debit the collateral; return the cents, or None without a live signature.

    Raises:
        Refusal: 409, if the transaction reverted on the simulator's own chain.
    """
    row = live(state, user_id)
    if row is None:
        return None
    if chain_signatures.send(state, row):
        # The ledger followed the event.
        return int(row["amount_cents"])
    return use(state, row)


def check_covered(call: Call, cents: int) -> None:
    """Raise a 409 `insufficient_balance` if the spending power is below `cents`."""
    if ledger.standing(call.state, call.user.user_id).spending_power < cents:
        raise conflict("not enough spending power", code="insufficient_balance")


def sign(call: Call, withdrawal_id: str, route: Route, cents: int, address: str, admin: str | None) -> Success:
    """Issue the signature of a pending withdrawal. Its amount is held until the signature is used or expires."""
    # The withdrawal's own hold must not count against it. It may also have lapsed in the meantime.
    call.state.db.execute("UPDATE withdrawals SET held_until = 0 WHERE withdrawal_id = ?", (withdrawal_id,))
    check_covered(call, cents)
    relay = _relay(route, address) if route.exchanged else None
    expires_at = int(call.now) + SIGNATURE_SECONDS
    recipient = address if relay is None else relay["payinAddress"]
    parameters = _parameters(call, withdrawal_id, route, chain_signatures.Payment(cents, recipient, expires_at, admin))
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


def _parameters(call: Call, withdrawal_id: str, route: Route, payment: chain_signatures.Payment) -> list[Any]:
    """Return the seven parameters in order, the amount in units of the token. On Solana all are strings."""
    contract, amount, salt = route.contract, str(route.contract.units(payment.cents)), secrets.token_bytes(32)
    written, recipient, expires_at = call.state.salts.written(salt), payment.recipient, payment.expires_at
    if contract.settled.network.family == "solana":
        signature = base64.b64encode(secrets.token_bytes(64)).decode()
        return [contract.proxy, contract.token, amount, recipient, str(expires_at), written, signature]
    signed = chain_signatures.sign(call, withdrawal_id, contract, payment, salt)
    if signed is None:
        # 65 bytes: r, s and the recovery byte, which is 27 or 28.
        signed = secrets.token_bytes(64) + bytes([27 + secrets.randbelow(2)])
    return [contract.proxy, contract.token, amount, recipient, expires_at, written, f"0x{signed.hex()}"]


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

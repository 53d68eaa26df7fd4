"""Withdrawals: a signature that is `pending` at the first asking and `ready` when the same request comes again."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox import assets, ledger, prices
from machines_mcp.sandbox.addresses import new_address, new_memo
from machines_mcp.sandbox.assets import Pair, address_pattern
from machines_mcp.sandbox.contracts import Contract, contracts_of
from machines_mcp.sandbox.envelope import Answer, conflict
from machines_mcp.sandbox.fields import MAX_CENTS, Fields
from machines_mcp.sandbox.idempotency import fingerprint, request_key, reused

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.sandbox.call import Call

RETRY_AFTER_SECONDS: Final = 1
SIGNATURE_SECONDS: Final = 1800
# The settled tokens count in millionths of a dollar.
_TOKEN_UNITS_PER_CENT: Final = 10_000


@dataclass(frozen=True)
class Route:
    """From the contract that pays to what arrives at the other end."""

    contract: Contract
    to: Pair
    extra_id: str | None

    @property
    def exchanged(self) -> bool:
        return self.to != self.contract.settled

    @property
    def bounds(self) -> tuple[int, int | None]:
        """Least and most in cents."""
        return (5_00, 50_000_00) if self.exchanged else (1_00, None)


def list_assets(call: Call) -> Answer:
    """GET /withdrawals/assets."""
    fields = call.query()
    source = {
        inner: fields.values[name]
        for inner, name in (("chainId", "sourceChainId"), ("tokenAddress", "sourceTokenAddress"))
        if fields.has(name)
    }
    _contract(call, Fields(source, "source."))
    return Answer({"assets": assets.listing(fields)}, "withdrawal assets")


def read_range(call: Call) -> Answer:
    """POST /withdrawals/range."""
    return Answer({"range": _range(_route(call, call.body()))}, "withdrawal range")


def estimate(call: Call) -> Answer:
    """POST /withdrawals/estimate."""
    fields = call.body()
    route = _route(call, fields)
    cents = _amount(fields, route)
    data = _range(route) | {
        "fromAmount": cents / 100,
        "fromAmountCents": cents,
        "estimatedToAmount": prices.in_units(route.to.ticker, cents, exchanged=route.exchanged),
        "rateId": str(uuid.uuid4()) if route.exchanged else None,
        "destinationExtraId": route.extra_id,
    }
    return Answer({"estimate": data}, "withdrawal estimate")


def create(call: Call) -> Answer:
    """POST /withdrawals: ask for a signature, or ask again.

    A request is recognised by its key; without one, an equal request that is still pending is taken up.
    """
    fields = call.body()
    route = _route(call, fields)
    cents = _amount(fields, route)
    address = fields.child("destination").text("address", most=200, pattern=address_pattern(route.to.network))
    fields.optional_text("adminAddress", most=200, pattern=address_pattern(route.contract.settled.network))
    known = _known(call)
    if known is not None and known["answer"] is not None:
        return Answer(json.loads(known["answer"]), "withdrawal signature")
    if known is not None:
        return _sign(call, known["withdrawal_id"], route, cents, address)
    _check_covered(call, cents)
    call.state.insert(
        "withdrawals",
        withdrawal_id=str(uuid.uuid4()),
        user_id=call.user.user_id,
        request_key=request_key(call),
        fingerprint=fingerprint(call),
        created_at=call.now,
        amount_cents=cents,
        held_until=call.now + SIGNATURE_SECONDS,
    )
    pending = {
        "status": "pending",
        "retryAfterSeconds": RETRY_AFTER_SECONDS,
        "parameters": None,
        "signature": None,
        "expiresAt": None,
        "execution": None,
        "relay": None,
    }
    return Answer(pending, "withdrawal pending", RETRY_AFTER_SECONDS * 1000)


def _known(call: Call) -> sqlite3.Row | None:
    key, body = request_key(call), fingerprint(call)
    if key is None:
        return call.state.row(
            "SELECT * FROM withdrawals WHERE user_id = ? AND fingerprint = ? AND request_key IS NULL"
            " AND answer IS NULL",
            *(call.user.user_id, body),
        )
    row = call.state.row("SELECT * FROM withdrawals WHERE user_id = ? AND request_key = ?", call.user.user_id, key)
    if row is not None and row["fingerprint"] != body:
        raise reused()
    return row


def _sign(call: Call, withdrawal_id: str, route: Route, cents: int, address: str) -> Answer:
    """Issue the signature of a pending withdrawal; from now on its amount is gone from the balance."""
    # Its own hold must not count against it, and may have lapsed in the meantime.
    call.state.db.execute("UPDATE withdrawals SET held_until = 0 WHERE withdrawal_id = ?", (withdrawal_id,))
    _check_covered(call, cents)
    relay = _relay(route, address) if route.exchanged else None
    recipient = address if relay is None else relay["payinAddress"]
    expires_at = int(call.now) + SIGNATURE_SECONDS
    salt = base64.b64encode(secrets.token_bytes(32)).decode()
    # 65 bytes: r, s and the recovery byte, which is 27 or 28.
    signature = f"0x{secrets.token_hex(64)}{27 + secrets.randbelow(2):02x}"
    contract = route.contract
    amount = str(cents * _TOKEN_UNITS_PER_CENT)
    parameters = [contract.proxy, contract.token, amount, recipient, expires_at, salt, signature]
    data = {
        "status": "ready",
        "retryAfterSeconds": None,
        "parameters": parameters,
        "signature": {"data": signature, "salt": salt, "parameters": parameters},
        "expiresAt": call.iso(expires_at),
        "execution": contract.execution(),
        "relay": relay,
    }
    call.state.db.execute(
        "UPDATE withdrawals SET answer = ? WHERE withdrawal_id = ?", (json.dumps(data), withdrawal_id)
    )
    ledger.enter(call.state, call.user.user_id, "collateral", -cents, at=call.now)
    return Answer(data, "withdrawal signature")


def _relay(route: Route, address: str) -> dict[str, Any]:
    settled = route.contract.settled
    return {
        "changeNowId": uuid.uuid4().hex[:14],
        "payinAddress": new_address(settled.network.family),
        "payinExtraId": new_memo() if settled.network.memo else None,
        "payoutAddress": address,
        "payoutExtraId": route.extra_id,
        "fromCurrency": settled.ticker,
        "fromNetwork": settled.network.id,
        "toCurrency": route.to.ticker,
        "toNetwork": route.to.network.id,
    }


def _range(route: Route) -> dict[str, Any]:
    least, most = route.bounds
    settled = route.contract.settled
    return {
        "fromCurrency": settled.ticker,
        "fromNetwork": settled.network.id,
        "toCurrency": route.to.ticker,
        "toNetwork": route.to.network.id,
        "minAmount": least / 100,
        "maxAmount": None if most is None else most / 100,
        "minAmountCents": least,
        "maxAmountCents": most,
        "destinationSupportsExtraId": route.to.network.memo,
    }


def _route(call: Call, fields: Fields) -> Route:
    destination = fields.child("destination")
    to = assets.pair_of(destination)
    extra_id = destination.optional_text("extraId", most=120)
    if extra_id is not None and not to.network.memo:
        destination.refuse("extraId", "must not be given for this network")
    source = fields.optional_child("source") or Fields({})
    return Route(_contract(call, source), to, extra_id)


def _contract(call: Call, source: Fields) -> Contract:
    """The contract that the source hints single out, the default one without any."""
    chain_id = source.optional_integer("chainId", least=1, most=2**53)
    token = source.optional_text("tokenAddress", most=200)
    contract_id = source.optional_text("contractId", most=200)
    contracts = contracts_of(call.user.user_id)
    if chain_id is not None:
        contracts = tuple(contract for contract in contracts if contract.chain_id == chain_id)
        if not contracts:
            source.refuse("chainId", "must be a chain that holds collateral", code="chain_not_supported")
    if token is not None:
        contracts = tuple(contract for contract in contracts if contract.token.lower() == token.lower())
        if not contracts:
            source.refuse("tokenAddress", "must be a token that is held as collateral there")
    if contract_id is not None:
        contracts = tuple(contract for contract in contracts if contract.contract_id == contract_id)
        if not contracts:
            source.refuse("contractId", "must be a contract of this user")
    return contracts[0]


def _amount(fields: Fields, route: Route) -> int:
    cents = fields.integer("amountCents", least=1, most=MAX_CENTS)
    least, most = route.bounds
    if cents < least or (most is not None and cents > most):
        fields.refuse("amountCents", "must lie within the range of this route")
    return cents


def _check_covered(call: Call, cents: int) -> None:
    if ledger.standing(call.state, call.user.user_id).spending_power < cents:
        raise conflict("not enough spending power", code="insufficient_balance")

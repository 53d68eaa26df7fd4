"""Deposits: a payment address, and a payment that the sandbox itself completes within three seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox import assets, ledger, prices
from machines_mcp.sandbox.addresses import new_address, new_memo
from machines_mcp.sandbox.assets import SETTLED, Pair
from machines_mcp.sandbox.contracts import contract_holding
from machines_mcp.sandbox.envelope import Success, not_found
from machines_mcp.sandbox.idempotency import once
from machines_mcp.sandbox.ids import new_id
from machines_mcp.sandbox.wallets import check_wallet

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.fields import Fields
    from machines_mcp.sandbox.state import State

# The stages before completion, all of equal length.
DIRECT_STAGES: Final = ("pending", "confirming")
EXCHANGED_STAGES: Final = ("pending", "confirming", "exchanging")
SECONDS_PER_STAGE: Final = 0.9
# The sandbox pays in this amount if the request names none.
UNSTATED_CENTS: Final = 100_00
_RECENT_SECONDS: Final = 3600
# The API does not paginate deposits. The limit is that of the longest page of transactions.
MAX_LISTED: Final = 200


def list_assets(call: Call) -> Success:
    """GET /deposits/assets."""
    return Success({"assets": assets.listing(call.query(), call.state.texts.at("asset"))}, "deposit assets")


def read_range(call: Call) -> Success:
    """POST /deposits/range."""
    return Success({"range": _range(call, assets.pair_of(call.body()))}, "deposit range")


def estimate(call: Call) -> Success:
    """POST /deposits/estimate."""
    fields = call.body()
    pair = assets.pair_of(fields)
    amount = fields.amount("amount")
    quoted_in = fields.optional_choice("amountCurrency", ("crypto", "usd")) or "crypto"
    # A quote in dollars is a quote in rUSD, which is worth one dollar.
    ticker = pair.ticker if quoted_in == "crypto" else "rusd"
    _check_bounds(fields, pair, ticker, amount)
    data = _range(call, pair) | {
        "quotedAmount": amount,
        "quotedAmountCurrency": quoted_in,
        "estimatedToAmount": prices.in_cents(ticker, amount, exchanged=pair not in SETTLED) / 100,
        "rateId": new_id() if pair not in SETTLED else None,
    }
    return Success({"estimate": data}, "deposit estimate")


def create(call: Call) -> Success:
    """POST /deposits."""
    fields = call.body()
    pair = assets.pair_of(fields)
    amount = fields.optional_amount("amount")
    if amount is not None:
        _check_bounds(fields, pair, pair.ticker, amount)
    if pair in SETTLED:
        check_wallet(call.user, pair.network, fields, "network")
    return once(call, "deposits", lambda: _create(call, pair, amount))


def _create(call: Call, pair: Pair, amount: float | None) -> Success:
    call.state.provisioning.check(call.user.user_id, call.now)
    exchanged = pair not in SETTLED
    amount = prices.worth(pair.ticker, UNSTATED_CENTS) if amount is None else amount
    cents = prices.in_cents(pair.ticker, amount, exchanged=exchanged)
    stages = EXCHANGED_STAGES if exchanged else DIRECT_STAGES
    completes_at = call.now + SECONDS_PER_STAGE * len(stages)
    deposit_id = new_id()
    call.state.insert(
        "deposits",
        deposit_id=deposit_id,
        user_id=call.user.user_id,
        created_at=call.now,
        completes_at=completes_at,
        currency=pair.ticker,
        network=pair.network.id,
        address=new_address(pair.network.family),
        extra_id=new_memo() if pair.network.memo else None,
        exchange_id=new_id().replace("-", "")[:14] if exchanged else None,
        entry_id=ledger.enter(call.state, call.user.user_id, "collateral", cents, at=completes_at),
    )
    return _answer(call, _find(call, deposit_id), "deposit created")


def read(call: Call) -> Success:
    """GET /deposits/{depositId}."""
    row = _find(call, call.named("depositId"))
    return _answer(call, row, f"deposit {_stage(row, call.now)[0]}")


def list_all(call: Call) -> Success:
    """GET /deposits: newest first, at most 200. `active` omits deposits completed over an hour ago."""
    scope = call.query().optional_choice("scope", ("active", "all")) or "active"
    since = call.now - _RECENT_SECONDS if scope == "active" else 0.0
    # No deposit takes longer to complete, so this bound finds all of them along the index that also sorts them.
    made_since = since - SECONDS_PER_STAGE * len(EXCHANGED_STAGES)
    rows = call.state.rows(
        "SELECT * FROM deposits WHERE user_id = ? AND created_at >= ? AND completes_at > ?"
        " ORDER BY created_at DESC, deposit_id LIMIT ?",
        *(call.user.user_id, made_since, since, MAX_LISTED),
    )
    return Success({"deposits": [_view(call, row) for row in rows]}, "deposits")


def complete(state: State, deposit_id: str) -> bool:
    """Complete a deposit now; return False if it does not exist."""
    row = state.row("SELECT * FROM deposits WHERE deposit_id = ?", deposit_id)
    if row is None:
        return False
    now = state.clock.now()
    if row["completes_at"] > now:
        state.db.execute("UPDATE deposits SET completes_at = ? WHERE deposit_id = ?", (now, deposit_id))
        state.db.execute(
            "UPDATE entries SET created_at = ?, posts_at = ? WHERE entry_id = ?", (now, now, row["entry_id"])
        )
    return True


def newest(state: State, user_id: str, limit: int) -> list[sqlite3.Row]:
    """Return the user's newest deposits with the cents that each brings."""
    return state.rows(
        "SELECT deposits.*, amount_cents FROM deposits JOIN entries USING (entry_id) WHERE deposits.user_id = ?"
        " ORDER BY deposits.created_at DESC, deposit_id LIMIT ?",
        *(user_id, limit),
    )


def outline(row: sqlite3.Row, now: float) -> dict[str, Any]:
    """Describe a row of `newest` for the control."""
    return {
        "id": row["deposit_id"],
        "completed": row["completes_at"] <= now,
        "status": _stage(row, now)[0],
        "amountCents": row["amount_cents"],
        "asset": assets.label(row["currency"], row["network"]),
    }


def _find(call: Call, deposit_id: str) -> sqlite3.Row:
    row = call.state.row("SELECT * FROM deposits WHERE deposit_id = ? AND user_id = ?", deposit_id, call.user.user_id)
    if row is None:
        raise not_found()
    return row


def _stage(row: sqlite3.Row, now: float) -> tuple[str, float, float | None]:
    """Return the stage at `now`, its start, and the start of the next stage (None once completed)."""
    if now >= row["completes_at"]:
        return "completed", row["completes_at"], None
    stages = DIRECT_STAGES if row["exchange_id"] is None else EXCHANGED_STAGES
    length = (row["completes_at"] - row["created_at"]) / len(stages)
    index = min(int((now - row["created_at"]) / length), len(stages) - 1)
    return stages[index], row["created_at"] + index * length, row["created_at"] + (index + 1) * length


def _answer(call: Call, row: sqlite3.Row, summary: str) -> Success:
    _, _, next_at = _stage(row, call.now)
    wait = None if next_at is None else int((next_at - call.now) * 1000) + 1
    return Success({"deposit": _view(call, row)}, summary, wait)


def _view(call: Call, row: sqlite3.Row) -> dict[str, Any]:
    pair = Pair(row["currency"], assets.NETWORKS[row["network"]])
    status, since, _ = _stage(row, call.now)
    least, most = _bounds(pair)
    return {
        "id": row["deposit_id"],
        "contractId": contract_holding(call.user, pair).contract_id,
        "changeNowId": row["exchange_id"],
        "fromCurrency": pair.ticker,
        "fromNetwork": pair.network.id,
        "depositAddress": row["address"],
        "payinExtraId": row["extra_id"],
        "chainId": pair.network.chain_id,
        "minAmount": least,
        "maxAmount": most,
        "status": status,
        "createdAt": call.iso(row["created_at"]),
        "updatedAt": call.iso(since),
    }


def _range(call: Call, pair: Pair) -> dict[str, Any]:
    contract = contract_holding(call.user, pair)
    least, most = _bounds(pair)
    return {
        "fromCurrency": pair.ticker,
        "fromNetwork": pair.network.id,
        "toCurrency": contract.settled.ticker,
        "toNetwork": contract.settled.network.id,
        "contractId": contract.contract_id,
        "payoutAddress": contract.proxy,
        "payoutChainId": contract.chain_id,
        "minAmount": least,
        "maxAmount": most,
    }


def _bounds(pair: Pair) -> tuple[float, float | None]:
    """Return minimum and maximum in the currency's units: from 1 dollar, or 5 to 50,000 dollars if exchanged."""
    return _bounds_in(pair, pair.ticker)


def _bounds_in(pair: Pair, ticker: str) -> tuple[float, float | None]:
    if pair in SETTLED:
        return prices.worth(ticker, 1_00), None
    return prices.worth(ticker, 5_00), prices.worth(ticker, 50_000_00)


def _check_bounds(fields: Fields, pair: Pair, ticker: str, amount: float) -> None:
    least, most = _bounds_in(pair, ticker)
    if amount < least or (most is not None and amount > most):
        fields.refuse("amount", "must be within the range of this asset and network")

"""Paying out: the route, the order, and the signed withdrawal that is executed on chain."""

from __future__ import annotations

from typing import Any, Literal

from machines_mcp.partner.models.base import Answer, Body
from machines_mcp.partner.models.types import Cents, Code, Flag, Moment, Number, PositiveWhole, Visible, Whole
from machines_mcp.redaction.verbatim import VerbatimField

# The seven arguments in their order: collateral proxy, token, amount, recipient, expiry, salt, signature. Strings and
# numbers mixed, and never changed.
Parameters = tuple[VerbatimField | Whole, ...]
CallPath = Literal["controller_v1", "coordinator_v2", "solana_v2_02", "unknown"] | str


class WithdrawalRange(Answer):
    """The bounds of an amount, in units of `from_currency` and in US cents; None is no bound."""

    from_currency: str
    from_network: str
    to_currency: str
    to_network: str
    min_amount: Number | None = None
    max_amount: Number | None = None
    min_amount_cents: Cents | None = None
    max_amount_cents: Cents | None = None
    destination_supports_extra_id: Flag | None = None


class WithdrawalEstimate(WithdrawalRange):
    """What would arrive: `estimated_to_amount` in units of `to_currency`. An estimate, not a promise."""

    from_amount: Number | None = None
    from_amount_cents: Cents | None = None
    estimated_to_amount: Number | None = None
    rate_id: VerbatimField | None = None
    destination_extra_id: VerbatimField | None = None


class WithdrawalSignature(Answer):
    """The signature apart from the parameters; which of these come is not the same in all versions of the API."""

    data: VerbatimField | None = None
    salt: VerbatimField | None = None
    parameters: Parameters | None = None
    expires_at: Moment | None = None


class Execution(Answer):
    """Which contract to call: `call_target`, in the way of `call_path`. Never the collateral proxy itself."""

    contract_id: VerbatimField | None = None
    contract_version: str | Whole | None = None
    chain_id: Whole | None = None
    collateral_proxy_address: VerbatimField | None = None
    controller_address: VerbatimField | None = None
    coordinator_address: VerbatimField | None = None
    call_target: VerbatimField | None = None
    call_path: CallPath | None = None


class Relay(Answer):
    """The exchange in between, where the asset changes: the withdrawal pays to `payin_address`."""

    change_now_id: VerbatimField | None = None
    payin_address: VerbatimField | None = None
    payin_extra_id: VerbatimField | None = None
    payout_address: VerbatimField | None = None
    payout_extra_id: VerbatimField | None = None
    from_currency: str | None = None
    from_network: str | None = None
    to_currency: str | None = None
    to_network: str | None = None


class Withdrawal(Answer):
    """`pending`: ask again with the same order and key after `retry_after_seconds`. `ready`: valid to `expires_at`."""

    status: Literal["pending", "ready"] | str
    retry_after_seconds: Number | None = None
    parameters: Parameters | None = None
    signature: WithdrawalSignature | VerbatimField | None = None
    expires_at: Moment | None = None
    execution: Execution | None = None
    relay: Relay | None = None


class WithdrawalSource(Body):
    """What to pay from. `contract_id` counts for orders alone."""

    chain_id: PositiveWhole | None = None
    token_address: Visible | None = None
    contract_id: Visible | None = None


class WithdrawalRoute(Body):
    """Where a withdrawal would go. `extra_id` is the memo or tag that the destination needs."""

    currency: Code
    network: Code
    extra_id: Visible | None = None
    source: WithdrawalSource | None = None

    def range_body(self) -> dict[str, Any]:
        """`POST /withdrawals/range`, which takes no `extra_id`."""
        return {"destination": _destination(self, "extra_id")} | self._source()

    def estimate_body(self, amount_cents: int) -> dict[str, Any]:
        """`POST /withdrawals/estimate`."""
        amount = WithdrawalAmount(amount_cents=amount_cents).wire()
        return amount | {"destination": _destination(self)} | self._source()

    def _source(self) -> dict[str, Any]:
        if self.source is None:
            return {}
        return {"source": {name: value for name, value in self.source.wire().items() if name != "contractId"}}


class WithdrawalAmount(Body):
    """An amount in US cents, 1 or more."""

    amount_cents: PositiveWhole


class WithdrawalOrder(WithdrawalAmount):
    """What to pay out and where. `admin_address` is the account that will send the transaction on chain."""

    currency: Code
    network: Code
    address: Visible
    extra_id: Visible | None = None
    source: WithdrawalSource | None = None
    admin_address: Visible | None = None

    def wire(self) -> dict[str, Any]:
        """`POST /withdrawals`, with the destination in an object of its own."""
        flat = super().wire()
        destination = {name: flat.pop(name) for name in ("currency", "network", "address", "extraId") if name in flat}
        return flat | {"destination": destination}


def _destination(route: WithdrawalRoute, *without: str) -> dict[str, Any]:
    return route.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"source", *without})

"""Deposits. Amounts are in units of their currency, not cents."""

from __future__ import annotations

from machines_mcp.partner.models.base import RequestModel, ResponseModel
from machines_mcp.partner.models.types import Code, Moment, Number, PositiveNumber, Whole
from machines_mcp.partner.vocabulary import AmountCurrency, DepositScope
from machines_mcp.redaction.verbatim import VerbatimField

# The API publishes no list of statuses. These are treated as final; all others may still change.
_ARRIVED = frozenset({"completed", "finished"})
_LOST = frozenset({"failed", "refunded", "expired", "canceled"})


class DepositRange(ResponseModel):
    """The minimum and maximum amount, in units of `from_currency`. None means no bound."""

    from_currency: str
    from_network: str
    to_currency: str | None = None
    to_network: str | None = None
    contract_id: VerbatimField | None = None
    payout_address: VerbatimField | None = None
    payout_chain_id: Whole | None = None
    min_amount: Number | None = None
    max_amount: Number | None = None


class DepositEstimate(DepositRange):
    """An estimate of what would arrive: `estimated_to_amount` in units of `to_currency`."""

    quoted_amount: Number
    quoted_amount_currency: AmountCurrency | str
    estimated_to_amount: Number | None = None
    rate_id: VerbatimField | None = None


class Deposit(ResponseModel):
    """A deposit. Pay to `deposit_address` (may be set later), with `payin_extra_id` as the memo if there is one.

    `status` is an open set; only `pending` is documented.
    """

    id: VerbatimField
    contract_id: VerbatimField | None = None
    change_now_id: VerbatimField | None = None
    from_currency: str
    from_network: str
    deposit_address: VerbatimField | None = None
    payin_extra_id: VerbatimField | None = None
    chain_id: Whole | None = None
    min_amount: Number | None = None
    max_amount: Number | None = None
    status: str
    created_at: Moment | None = None
    updated_at: Moment | None = None

    @property
    def arrived(self) -> bool:
        """Whether the deposit completed. The balance is updated within minutes."""
        return self.status in _ARRIVED

    @property
    def settled(self) -> bool:
        """Whether the deposit reached a final status, completed or not."""
        return self.arrived or self.status in _LOST


class DepositList(ResponseModel):
    """A user's deposits. The API does not paginate them."""

    deposits: tuple[Deposit, ...]


class DepositRoute(RequestModel):
    """Body of `POST /deposits/range`."""

    currency: Code
    network: Code


class EstimateDepositBody(DepositRoute):
    """Body of `POST /deposits/estimate`: `amount` in units of `amount_currency`."""

    amount: PositiveNumber
    amount_currency: AmountCurrency = "crypto"


class CreateDepositBody(DepositRoute):
    """Body of `POST /deposits`: `amount` in units of `currency`."""

    amount: PositiveNumber | None = None


class DepositFilter(RequestModel):
    """Query of `GET /deposits`."""

    scope: DepositScope

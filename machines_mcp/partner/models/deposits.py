"""Deposits. Amounts are in units of their currency, not cents."""

from __future__ import annotations

from machines_mcp.partner.models.address_or_memo import Account, PayinAddress, PayinMemo
from machines_mcp.partner.models.base import RequestModel, ResponseModel, documented
from machines_mcp.partner.models.types import (
    Amount,
    ChainId,
    Code,
    Moment,
    OwnId,
    PositiveNumber,
    RecordId,
    Rows,
)
from machines_mcp.partner.vocabulary import AmountCurrency, DepositScope

# The API publishes no list of statuses. These are treated as final; all others may still change.
_ARRIVED = frozenset({"completed", "finished"})
_LOST = frozenset({"failed", "refunded", "expired", "canceled"})


class DepositRange(ResponseModel):
    """The minimum and maximum amount, in units of `from_currency`. None means no bound."""

    from_currency: str
    from_network: str
    to_currency: str | None = None
    to_network: str | None = None
    contract_id: OwnId | None = None
    payout_address: Account | None = None
    payout_chain_id: ChainId | None = None
    min_amount: Amount | None = None
    max_amount: Amount | None = None


class DepositEstimate(DepositRange):
    """An estimate of what would arrive: `estimated_to_amount` in units of `to_currency`."""

    quoted_amount: Amount
    quoted_amount_currency: AmountCurrency | str
    estimated_to_amount: Amount | None = None
    rate_id: OwnId | None = None


class ListedDeposit(ResponseModel):
    """A deposit in a list. Pay to `deposit_address` (may be set later), with the memo `payin_extra_id` if there is one.

    `status` is an open set; only `pending` is documented. Documented fields may be absent: one odd deposit must not
    hide the others.
    """

    id: RecordId | None = documented()
    contract_id: OwnId | None = None
    change_now_id: OwnId | None = None
    from_currency: str | None = documented()
    from_network: str | None = documented()
    deposit_address: PayinAddress | None = None
    payin_extra_id: PayinMemo | None = None
    chain_id: ChainId | None = None
    min_amount: Amount | None = None
    max_amount: Amount | None = None
    status: str | None = documented()
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


class Deposit(ListedDeposit):
    """A deposit that was asked for or created, so that its id is known."""

    id: RecordId


class DepositList(ResponseModel):
    """A user's deposits. The API does not paginate them."""

    deposits: Rows[ListedDeposit]


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

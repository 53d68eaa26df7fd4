"""Withdrawals: the route, the order, and the signed withdrawal to execute on chain."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ValidationInfo

from machines_mcp.partner.formats.addresses import address_fault
from machines_mcp.partner.formats.memos import memo_fault
from machines_mcp.partner.models.address_or_memo import (
    Account,
    PayinAddress,
    PayinMemo,
    PayoutAddress,
    PayoutMemo,
)
from machines_mcp.partner.models.base import RequestModel, ResponseModel, documented
from machines_mcp.partner.models.signed_json import SignedJson
from machines_mcp.partner.models.types import (
    Amount,
    ChainId,
    Code,
    ContractAddress,
    Flag,
    LimitCents,
    Moment,
    OwnId,
    PauseSeconds,
    PositiveWhole,
    TokenAddress,
    Visible,
    Whole,
    moment,
)
from machines_mcp.partner.same_value import PARAMETERS, whole

# The year 2200, in epoch seconds.
_LATEST_EXPIRY = 7_258_118_400
# The place of the expiry among the parameters.
_EXPIRY = 4
CallPath = Literal["controller_v1", "coordinator_v2", "solana_v2_02", "unknown"] | str


class WithdrawalRange(ResponseModel):
    """The minimum and maximum amount, in units of `from_currency` and in US cents. None means no bound."""

    from_currency: str | None = documented()
    from_network: str | None = documented()
    to_currency: str
    to_network: str
    min_amount: Amount | None = None
    max_amount: Amount | None = None
    min_amount_cents: LimitCents | None = None
    max_amount_cents: LimitCents | None = None
    destination_supports_extra_id: Flag | None = None


class WithdrawalEstimate(WithdrawalRange):
    """An estimate of what would arrive: `estimated_to_amount` in units of `to_currency`. Not guaranteed."""

    from_amount: Amount | None = None
    from_amount_cents: LimitCents | None = None
    estimated_to_amount: Amount | None = None
    rate_id: OwnId | None = None
    destination_extra_id: PayoutMemo | None = None


class Execution(ResponseModel):
    """The contract to call: `call_target`, as `call_path` requires. Never the collateral proxy itself."""

    contract_id: OwnId | None = None
    contract_version: str | Whole | None = None
    chain_id: ChainId | None = None
    collateral_proxy_address: Account | None = None
    controller_address: Account | None = None
    coordinator_address: Account | None = None
    call_target: Account | None = None
    call_path: CallPath | None = None


class Relay(ResponseModel):
    """The exchange used if the asset changes: the withdrawal pays to `payin_address`."""

    change_now_id: OwnId | None = None
    from_currency: str | None = None
    from_network: str | None = None
    to_currency: str | None = None
    to_network: str | None = None
    payin_address: PayinAddress | None = None
    payin_extra_id: PayinMemo | None = None
    payout_address: PayoutAddress | None = None
    payout_extra_id: PayoutMemo | None = None


class Withdrawal(ResponseModel):
    """`pending`: repeat the same order and key after `retry_after_seconds`. `ready`: valid until `expires_at`.

    `parameters` and `signature` are the JSON as it came, without undocumented keys. Seven parameters are documented:
    collateral proxy, token, amount, recipient, expiry, salt, signature. Forms differ: see `SignedJson`.
    """

    status: Literal["pending", "ready"] | str
    retry_after_seconds: PauseSeconds | None = None
    parameters: SignedJson = None
    signature: SignedJson = None
    expires_at: Moment | None = None
    execution: Execution | None = None
    relay: Relay | None = None

    @property
    def expiry(self) -> float | None:
        """When the first of what is signed expires, in epoch seconds; None if no time can be read.

        The API does not say that `expires_at` agrees with the time in the parameters, by which the chain judges.
        """
        signature = self.signature if isinstance(self.signature, dict) else {}
        signed = [self.parameters, signature.get("parameters")]
        inside = [each[_EXPIRY] for each in signed if isinstance(each, list) and len(each) == PARAMETERS]
        times = map(_seconds, (self.expires_at, signature.get("expiresAt"), *inside))
        return min((time for time in times if time is not None), default=None)

    @property
    def expiry_time(self) -> datetime | None:
        """`expiry` as a time; None if it is not known or no sensible time."""
        expiry = self.expiry
        return datetime.fromtimestamp(expiry, UTC) if expiry is not None and 0 <= expiry < _LATEST_EXPIRY else None


def _seconds(value: object) -> float | None:
    """Return the epoch seconds of a time: a number, its digits, or ISO 8601. None if it is none of them."""
    number = whole(value)
    if number is not None:
        return number
    try:
        return moment(value).timestamp()
    except ValueError:
        return None


def _on_network(fault: Callable[[str, str], str | None]) -> Callable[[str, ValidationInfo], str]:
    """Return a validator of a value that depends on the network."""

    def check(value: str, info: ValidationInfo) -> str:
        if fault(info.data.get("network", ""), value) is not None:
            raise ValueError("not valid on the network")
        return value

    return check


Address = Annotated[Visible, AfterValidator(_on_network(address_fault))]
Memo = Annotated[Visible, AfterValidator(_on_network(memo_fault))]


class WithdrawalSource(RequestModel):
    """The source of the funds. `contract_id` is used only in orders."""

    chain_id: PositiveWhole | None = None
    token_address: TokenAddress | None = None
    contract_id: Visible | None = None


class WithdrawalRoute(RequestModel):
    """The destination of a withdrawal. `extra_id` is the memo or tag that it needs, if any."""

    currency: Code
    network: Code
    extra_id: Memo | None = None
    source: WithdrawalSource | None = None

    def range_body(self) -> dict[str, Any]:
        """Return the body of `POST /withdrawals/range`, which takes no `extra_id`."""
        return {"destination": _destination(self, "extra_id")} | self._source()

    def estimate_body(self, amount_cents: int) -> dict[str, Any]:
        """Return the body of `POST /withdrawals/estimate`."""
        amount = WithdrawalAmount(amount_cents=amount_cents).to_json()
        return amount | {"destination": _destination(self)} | self._source()

    def _source(self) -> dict[str, Any]:
        if self.source is None:
            return {}
        return {"source": {name: value for name, value in self.source.to_json().items() if name != "contractId"}}


class WithdrawalAmount(RequestModel):
    """An amount of 1 or more US cents."""

    amount_cents: PositiveWhole


class WithdrawalOrder(WithdrawalAmount):
    """The amount and destination. `admin_address` is the account that will send the transaction on chain."""

    currency: Code
    network: Code
    address: Address
    extra_id: Memo | None = None
    source: WithdrawalSource | None = None
    admin_address: ContractAddress | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the body of `POST /withdrawals`, with the destination as a nested object."""
        flat = super().to_json()
        destination = {name: flat.pop(name) for name in ("currency", "network", "address", "extraId") if name in flat}
        return flat | {"destination": destination}


def _destination(route: WithdrawalRoute, *without: str) -> dict[str, Any]:
    return route.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"source", *without})

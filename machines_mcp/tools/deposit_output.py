"""Output models for deposits."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field, PrivateAttr

from machines_mcp.partner.vocabulary import AmountCurrency
from machines_mcp.partner.waiting import poll_seconds
from machines_mcp.protocol.tool import NextStepOutput, Output, OutputPart
from machines_mcp.redaction.foreign_text import ForeignText
from machines_mcp.redaction.verbatim import AddressOrMemo, Identifier
from machines_mcp.tools.services import ServiceContext, next_step
from machines_mcp.tools.text import estimate, is_status, pluralize, range_text

if TYPE_CHECKING:
    from machines_mcp.partner import Deposit, ListedDeposit

LeastAmount = Field(default=None, description="In currency units")
MostAmount = Field(default=None, description="In currency units")
_PAYMENT = frozenset({"deposit_address", "payin_extra_id"})


class DepositQuote(Output):
    currency: str
    network: str
    amount: float | None = None
    amount_currency: AmountCurrency = Field(description="crypto: currency")
    min_amount: float | None = LeastAmount
    max_amount: float | None = MostAmount
    within_range: bool | None = None
    estimated_to_amount: float | None = Field(default=None, description="Would arrive, in to_currency")
    to_currency: ForeignText | None = Field(default=None, description="What arrives")

    def summary(self) -> str:
        if self.within_range is None:
            bounds = range_text(self.min_amount, self.max_amount)
            return f"A deposit has an allowed range{bounds}." if bounds else "The allowed range is unknown."
        if not self.within_range:
            return f"The amount is outside the allowed range{range_text(self.min_amount, self.max_amount)}."
        about = self.estimated_to_amount
        return "The amount can be deposited" + ("." if about is None else f"; about {estimate(about)} would arrive.")


class DepositOutput(OutputPart):
    deposit_id: Identifier | None = None
    status: ForeignText | None = None
    currency: ForeignText | None = None
    network: ForeignText | None = None
    deposit_address: AddressOrMemo | None = None
    memo: AddressOrMemo | None = None
    min_amount: float | None = LeastAmount
    max_amount: float | None = MostAmount
    created_at: datetime | None = None


class DepositResult(Output, DepositOutput):
    deposit_id: Identifier
    still_waiting: bool | None = None
    poll_after_seconds: float | None = None
    _already_made: str = PrivateAttr(default="")

    def told(self, already_made: str) -> DepositResult:
        """Return the result with a sentence on an equal deposit that was made before."""
        found = self.model_copy()
        found._already_made = already_made
        return found

    def ephemeral(self) -> dict[str, str]:
        return {"already_made": self._already_made} if self._already_made else {}

    def summary(self) -> str:
        # A finished deposit has no time of the next poll, and its address must not be paid again.
        address = self.deposit_address if self.poll_after_seconds is not None else None
        memo = f" with the memo {self.memo}" if self.memo else ""
        where = f" Send it to {address}{memo}." if address else ""
        again = f" {self._already_made}" if self._already_made else ""
        return f"The deposit {is_status(self.status)}.{where}{again}"


class DepositListOutput(Output):
    deposits: list[DepositOutput]

    def summary(self) -> str:
        return f"{pluralize(len(self.deposits), 'deposit')}."


def deposit_result(call: ServiceContext, deposit: Deposit, *, waited: bool) -> DepositResult:
    """Build the result of a tool that returns one deposit. `waited`: the call waited for a final status."""
    open_ended = not deposit.settled
    return DepositResult(
        **deposit_fields(deposit),
        still_waiting=True if open_ended and waited else None,
        poll_after_seconds=poll_seconds(deposit) if open_ended else None,
        next_steps=[_next_step(call, deposit)],
    )


def _next_step(call: ServiceContext, deposit: Deposit) -> NextStepOutput:
    if deposit.arrived:
        return next_step(call, "get_balances", "The deposit arrived; see what the user can spend.")
    if deposit.settled:
        return next_step(call, "list_deposit_assets", "This deposit ended without arriving; start another.")
    if deposit.odd & _PAYMENT:
        return next_step(call, "list_deposits", "Machines' response is incomplete; see the deposit there.")
    if deposit.deposit_address is None:
        why = "There is no address to pay to yet; get the deposit again."
        return next_step(call, "get_deposit", why, deposit_id=deposit.id)
    memo = " with its memo" if deposit.payin_extra_id else ""
    why = f"Have the user send the currency to deposit_address{memo}, then wait for it."
    return next_step(call, "get_deposit", why, deposit_id=deposit.id, wait_seconds=30)


def deposit_fields(deposit: ListedDeposit) -> dict[str, Any]:
    """Return the fields of a `DepositOutput`."""
    return {
        "deposit_id": deposit.id,
        "status": ForeignText.of(deposit.status, 40),
        "currency": ForeignText.of(deposit.from_currency, 40),
        "network": ForeignText.of(deposit.from_network, 40),
        # Money sent without its memo is lost, so one is not shown without the other.
        "deposit_address": None if deposit.odd & _PAYMENT else deposit.deposit_address,
        "memo": None if deposit.odd & _PAYMENT else deposit.payin_extra_id,
        "min_amount": deposit.min_amount,
        "max_amount": deposit.max_amount,
        "created_at": deposit.created_at,
    }

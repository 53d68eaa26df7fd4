"""Output models for withdrawals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field

from machines_mcp.protocol.tool import NextStepOutput, Output
from machines_mcp.redaction.display import dollars
from machines_mcp.redaction.foreign_text import ForeignText
from machines_mcp.redaction.verbatim import AddressOrMemo, Verbatim
from machines_mcp.storage.withdrawals import StartedWithdrawal
from machines_mcp.tools.services import ServiceContext, next_step
from machines_mcp.tools.text import estimate, is_status

if TYPE_CHECKING:
    from machines_mcp.partner import Withdrawal

_PENDING = "Machines has not signed yet. No money has moved."
_UNKNOWN = "This server does not know that status, so it can't say whether money moved."
_EXPIRED = "The signature has expired. This server can't say whether the wallet sent the transaction before that."
_INCOMPLETE = "Machines calls it ready, but its answer lacks what the wallet needs to send the transaction."
_CHECK = " Do not request it again before a person has checked this withdrawal at Machines."
ExtraId = Field(default=None, description="Memo or tag")
_BY_PERSON = "A person checked Machines and confirmed that this withdrawal was made."


class WithdrawalQuote(Output):
    """A quote, or without its id only the range of the route."""

    quote_id: Verbatim | None = None
    expires_at: datetime | None = None
    amount_cents: int | None = None
    currency: str
    network: str
    address: Verbatim | None = None
    extra_id: Verbatim | None = ExtraId
    admin_address: Verbatim | None = Field(default=None, description="Wallet that will send it")
    estimated_to_amount: float | None = Field(default=None, description="Would arrive, in currency")
    is_estimate: bool | None = None
    min_amount_cents: int | None = None
    max_amount_cents: int | None = None

    def summary(self) -> str:
        if self.amount_cents is None or self.expires_at is None:
            return self._range()
        memo = f" with the memo {self.extra_id}" if self.extra_id else ""
        about = self.estimated_to_amount
        arrives = "" if about is None else f"; about {estimate(about)} would arrive"
        until = f"valid until {_clock_time(self.expires_at)}"
        return f"Quote for {dollars(self.amount_cents)} to {self.address}{memo}{arrives}; {until}."

    def _range(self) -> str:
        bounds = [f"at least {dollars(self.min_amount_cents)}"] if self.min_amount_cents is not None else []
        bounds += [f"at most {dollars(self.max_amount_cents)}"] if self.max_amount_cents is not None else []
        return f"A withdrawal can be {' and '.join(bounds)}." if bounds else "The allowed range is unknown."


class WithdrawalCreated(Output):
    withdrawal_id: Verbatim
    status: ForeignText
    amount_cents: int
    chain_id: int | None = None
    call_path: ForeignText | None = Field(default=None, description="Kind of call")
    call_target: AddressOrMemo | None = Field(default=None, description="Contract to call")
    signature_expires_at: datetime | None = None
    note: str = Field(description="What to know now")

    def summary(self) -> str:
        expiry = self.signature_expires_at
        until = "" if expiry is None else f"; its signature expires at {_clock_time(expiry)}"
        return f"The withdrawal of {dollars(self.amount_cents)} {is_status(self.status)}{until}."


def _clock_time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S} UTC"


def withdrawal_result(
    call: ServiceContext, withdrawal_id: Verbatim, terms: Mapping[str, Any], answer: Withdrawal
) -> WithdrawalCreated:
    """Build the result of `create_withdrawal`. Its note claims only what the answer shows."""
    execution, expired = answer.execution, _is_expired(call, answer)
    return WithdrawalCreated(
        withdrawal_id=withdrawal_id,
        status=ForeignText("expired" if expired else answer.status, 40),
        amount_cents=terms["amount_cents"],
        chain_id=execution.chain_id if execution else None,
        call_path=ForeignText.of(execution.call_path, 40) if execution else None,
        call_target=execution.call_target if execution else None,
        signature_expires_at=answer.expiry_time,
        note=_EXPIRED + _CHECK if expired else _note(terms, answer),
        next_steps=_after(call, withdrawal_id, "" if expired else answer.status),
    )


def _after(call: ServiceContext, withdrawal_id: Verbatim, status: str) -> list[NextStepOutput]:
    balances = next_step(call, "get_balances", "See the remaining balance.")
    why = "Get what the wallet signs and sends, while the signature of Machines is valid."
    send = next_step(call, "get_withdrawal_transaction", why, withdrawal_id=withdrawal_id)
    return [send, balances] if status == "ready" else [balances]


def confirmed_result(call: ServiceContext, started: StartedWithdrawal) -> WithdrawalCreated:
    """Build the result of a withdrawal that a person confirmed; the API's answer was lost."""
    return WithdrawalCreated(
        withdrawal_id=started.id,
        status=ForeignText("confirmed", 40),
        amount_cents=started.quote.terms["amount_cents"],
        note=_BY_PERSON,
        next_steps=[next_step(call, "get_balances", "See the remaining balance.")],
    )


def _is_expired(call: ServiceContext, answer: Withdrawal) -> bool:
    expiry = answer.expiry
    return answer.status == "ready" and expiry is not None and expiry <= call.services.state.clock()


def _note(terms: Mapping[str, Any], answer: Withdrawal) -> str:
    if answer.status == "pending":
        return _PENDING
    if answer.status != "ready":
        return _UNKNOWN + _CHECK
    execution = answer.execution
    if execution is None or execution.call_target is None or execution.chain_id is None or not _is_signed(answer):
        return _INCOMPLETE + _CHECK
    wallet = "the quote's admin_address" if terms["admin_address"] else "the owner of the collateral"
    until = " before the signature expires" if answer.expiry_time else "; when the signature expires is not known"
    return f"Ready: {wallet} must send the transaction{until}."


def _is_signed(answer: Withdrawal) -> bool:
    """Whether there is signed data in one of the documented places."""
    signature = answer.signature
    places: list[Any] = [signature, _last_of_seven(answer.parameters)]
    if isinstance(signature, dict):
        places += [signature.get("data"), _last_of_seven(signature.get("parameters"))]
    return any(isinstance(data, str) and bool(data.strip()) for data in places)


def _last_of_seven(parameters: Any) -> Any:
    return parameters[6] if isinstance(parameters, list) and len(parameters) == 7 else None

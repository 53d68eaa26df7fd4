"""Request a withdrawal's signature, and reconcile a withdrawal whose response was lost.

Only the documented poll may be sent again: the same order and key, while the newest answer is `pending` and nothing
was sent since. Anything else needs a person: money is never requested again on a guess.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from machines_mcp import partner
from machines_mcp.partner.errors import PartnerError
from machines_mcp.permissions.approval import Approval
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.tool import Completed, NeedsPerson, NotExecuted, Output, Reconciliation, RetryLater
from machines_mcp.redaction.display import dollars
from machines_mcp.redaction.foreign_text import ForeignText
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.freeze import Frozen
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.storage.withdrawals import StartedWithdrawal
from machines_mcp.tools.reconcile import NOTHING_HAPPENED
from machines_mcp.tools.services import ServiceContext, next_step
from machines_mcp.tools.text import status_label

if TYPE_CHECKING:
    from machines_mcp.partner import Withdrawal, WithdrawalOrder, WithdrawalSource


_Send: TypeAlias = "Callable[[], Awaitable[Withdrawal]]"

POLL_SECONDS = 60.0
# Used if the API gives no delay.
PAUSE_SECONDS = 5.0
_UNSEEN = "Machines may have signed this withdrawal, but its response was lost."
_REFUSED = "There is no withdrawal: Machines refused it, or a person checked there and found none."
_NOT_YET = "Machines has not signed the withdrawal yet. No money has moved."
_READY = "Ready: the wallet given as admin_address must send the transaction before the signature expires."
_BY_PERSON = "A person checked Machines and confirmed that this withdrawal was made."


class WithdrawalCreated(Output):
    withdrawal_id: Verbatim
    status: ForeignText
    amount_cents: int
    chain_id: int | None = None
    call_path: ForeignText | None = None
    call_target: Verbatim | None = None
    signature_expires_at: datetime | None = None
    note: str

    def summary(self) -> str:
        return f"The withdrawal of {dollars(self.amount_cents)} has the status {status_label(self.status)}."


async def request_signature(call: ServiceContext, withdrawal_id: Verbatim, terms: Mapping[str, Any]) -> Withdrawal:
    """Request the signature. While it is `pending`, poll at the API's interval for up to a minute.

    Raises:
        ToolError: `outcome.unknown` after a minute; repeating the call continues polling.
        PartnerError: The request failed. Unless it can be retried, the failure is recorded.
        Frozen: Changes were frozen before the request, or between two polls.
    """
    deadline = anyio.current_time() + POLL_SECONDS
    try:
        send = await _sender(call, withdrawal_id, terms, call.idempotency_key)
        answer = await send()
    except (PartnerError, Frozen) as error:
        if isinstance(error, Frozen) or error.retryable:
            # The approval can be used again, and it was given for this quote.
            await call.services.state.withdrawals.release(withdrawal_id)
        else:
            await _record_failure(call, withdrawal_id, error)
        raise
    while answer.status == "pending":
        pause = _poll_interval(answer)
        if anyio.current_time() + pause > deadline:
            raise ToolError(Code.OUTCOME_UNKNOWN, message=_NOT_YET, details={"retry_after_seconds": math.ceil(pause)})
        await call.progress(1 - (deadline - anyio.current_time()) / POLL_SECONDS, "the signature")
        await anyio.sleep(pause)
        answer = await _poll(call, withdrawal_id, send, answer)
    return answer


async def _poll(call: ServiceContext, withdrawal_id: Verbatim, send: _Send, previous: Withdrawal) -> Withdrawal:
    """Poll a withdrawal once; `previous` is its newest answer."""
    # The outcome is unknown until the answer is recorded.
    await call.services.state.withdrawals.record(withdrawal_id, "requested")
    try:
        return await send()
    except Frozen:
        # It was not sent, so the previous answer still holds.
        await call.services.state.withdrawals.record(withdrawal_id, "pending")
        raise
    except PartnerError as error:
        if not error.retryable:
            await _record_failure(call, withdrawal_id, error)
            raise
        # The poll had no effect, so the previous answer still holds. It must not be recorded as a refusal.
        await call.services.state.withdrawals.record(withdrawal_id, "pending")
        return previous


async def _sender(call: ServiceContext, withdrawal_id: Verbatim, terms: Mapping[str, Any], key: str) -> _Send:
    """Return a function that sends the order and records the answer. It sends the same order each time."""
    order, client = _order(terms), await call.services.partner.client(call.logged_as)
    api, recorded = client.withdrawals, call.services.state.withdrawals

    async def send() -> Withdrawal:
        answer = await api.create(call.user_id, order, idempotency_key=key)
        await recorded.record(withdrawal_id, answer.status, answer.model_dump(mode="json"))
        return answer

    return send


async def _record_failure(call: ServiceContext, withdrawal_id: Verbatim, error: PartnerError) -> None:
    await call.services.state.withdrawals.record(withdrawal_id, "rejected" if error.outcome_known else "unknown")


async def reconcile_withdrawal(
    call: ServiceContext, approval: Approval, entries: Sequence[JournalEntry]
) -> Reconciliation:
    """Decide by the stored row: poll if its newest answer is `pending`, release the quote if nothing was sent."""
    started = await call.services.state.withdrawals.for_approval(approval.id)
    if started is None:
        return NOTHING_HAPPENED if not any(entry.may_have_happened for entry in entries) else NeedsPerson(_UNSEEN)
    match started.status:
        case "not_begun":
            return NOTHING_HAPPENED
        case "rejected":
            return NotExecuted(_REFUSED)
        case "pending":
            return await _poll_again(call, started, entries)
        case "requested" | "unknown":
            return await _unanswered(call, started, entries)
    return Completed(_stored_result(call, started))


async def _poll_again(
    call: ServiceContext, started: StartedWithdrawal, entries: Sequence[JournalEntry]
) -> Reconciliation:
    previous = partner.Withdrawal.model_validate(started.answer)
    key = next((entry.idempotency_key for entry in entries if entry.idempotency_key), call.idempotency_key)
    send = await _sender(call, started.id, started.quote.terms, key)
    try:
        answer = await _poll(call, started.id, send, previous)
    except PartnerError as error:
        return NotExecuted(_REFUSED) if error.outcome_known else NeedsPerson(_UNSEEN)
    if answer.status == "pending":
        return RetryLater(_poll_interval(answer), _NOT_YET)
    return Completed(withdrawal_result(call, started.id, started.quote.terms, answer))


async def _unanswered(
    call: ServiceContext, started: StartedWithdrawal, entries: Sequence[JournalEntry]
) -> Reconciliation:
    """Reconcile a withdrawal whose request may have been sent and has no recorded answer."""
    if started.status == "requested" and all(entry.state == "unsent" for entry in entries):
        if started.answer is not None:
            # The poll was not sent, so the previous answer is still the newest.
            return await _poll_again(call, started, entries)
        await call.services.state.withdrawals.release(started.id)
        return NOTHING_HAPPENED
    if entries and all(entry.state == "rejected" for entry in entries):
        await call.services.state.withdrawals.record(started.id, "rejected")
        return NotExecuted(_REFUSED)
    await call.services.state.withdrawals.record(started.id, "unknown")
    return NeedsPerson(_UNSEEN)


def withdrawal_result(
    call: ServiceContext, withdrawal_id: Verbatim, terms: Mapping[str, Any], answer: Withdrawal
) -> WithdrawalCreated:
    """Build the result of `create_withdrawal`."""
    execution = answer.execution
    return WithdrawalCreated(
        withdrawal_id=withdrawal_id,
        status=ForeignText(answer.status, 40),
        amount_cents=terms["amount_cents"],
        chain_id=execution.chain_id if execution else None,
        call_path=ForeignText.of(execution.call_path, 40) if execution else None,
        call_target=execution.call_target if execution else None,
        signature_expires_at=answer.expires_at,
        note=_READY if answer.status == "ready" else "Machines has not signed yet. No money has moved.",
        next_steps=[next_step(call, "get_balances", "See the remaining balance.")],
    )


def _stored_result(call: ServiceContext, started: StartedWithdrawal) -> WithdrawalCreated:
    if started.status == "confirmed":
        return _confirmed_result(call, started)
    return withdrawal_result(call, started.id, started.quote.terms, partner.Withdrawal.model_validate(started.answer))


def _confirmed_result(call: ServiceContext, started: StartedWithdrawal) -> WithdrawalCreated:
    """Build the result of a withdrawal that a person confirmed; the API's answer was lost."""
    return WithdrawalCreated(
        withdrawal_id=started.id,
        status=ForeignText("confirmed", 40),
        amount_cents=started.quote.terms["amount_cents"],
        note=_BY_PERSON,
        next_steps=[next_step(call, "get_balances", "See the remaining balance.")],
    )


def _poll_interval(answer: Withdrawal) -> float:
    return max(0.5, answer.retry_after_seconds or PAUSE_SECONDS)


def withdrawal_source(terms: Mapping[str, Any]) -> WithdrawalSource | None:
    """Return the chain and token to pay from in the API's form; None if neither is given."""
    chain, token = terms["source_chain_id"], terms["source_token_address"]
    return None if chain is None and token is None else partner.WithdrawalSource(chain_id=chain, token_address=token)


def _order(terms: Mapping[str, Any]) -> WithdrawalOrder:
    return partner.WithdrawalOrder(
        amount_cents=terms["amount_cents"],
        currency=terms["currency"],
        network=terms["network"],
        address=terms["address"],
        extra_id=terms["extra_id"],
        source=withdrawal_source(terms),
        admin_address=terms["admin_address"],
    )

"""Reconcile a withdrawal whose response was lost.

Only the documented poll may be sent again. Anything else needs a person: money is never requested again on a guess.
"""

from __future__ import annotations

from collections.abc import Sequence

from machines_mcp import partner
from machines_mcp.partner.errors import PartnerError
from machines_mcp.permissions.approval import Approval
from machines_mcp.protocol.tool import Completed, NeedsPerson, NotExecuted, Reconciliation, RetryLater
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.storage.withdrawals import StartedWithdrawal
from machines_mcp.tools.reconcile import NOTHING_HAPPENED
from machines_mcp.tools.services import ServiceContext
from machines_mcp.tools.withdrawal_output import WithdrawalCreated, confirmed_result, withdrawal_result
from machines_mcp.tools.withdrawal_signature import NOT_YET, order_sender, poll_interval, poll_once, time_until_poll

_UNSEEN = "Machines may have signed this withdrawal, but its response was lost."
_REFUSED = "There is no withdrawal: Machines refused it, or a person checked there and found none."


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
    early = time_until_poll(previous, call.services.state.clock() - started.updated_at)
    if early > 0 and not call.logged_as.read_only:
        return RetryLater(early, NOT_YET)
    key = next((entry.idempotency_key for entry in entries if entry.idempotency_key), call.idempotency_key)
    send = await order_sender(call, started.id, started.quote.terms, key)
    try:
        answer = await poll_once(call, started.id, send, previous)
    except PartnerError as error:
        return NotExecuted(_REFUSED) if error.outcome_known else NeedsPerson(_UNSEEN)
    if answer.status == "pending":
        return RetryLater(poll_interval(answer), NOT_YET)
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


def _stored_result(call: ServiceContext, started: StartedWithdrawal) -> WithdrawalCreated:
    if started.status == "confirmed":
        return confirmed_result(call, started)
    return withdrawal_result(call, started.id, started.quote.terms, partner.Withdrawal.model_validate(started.answer))

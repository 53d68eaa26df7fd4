"""Request a withdrawal's signature, and poll while Machines has not signed it.

Only the documented poll sends an order again: the same order and key, while the newest answer is `pending` and nothing
was sent since.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from machines_mcp import partner
from machines_mcp.partner.errors import PartnerError
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.freeze import Frozen
from machines_mcp.storage.journal import ReadOnly
from machines_mcp.tools.services import ServiceContext

if TYPE_CHECKING:
    from machines_mcp.partner import Withdrawal, WithdrawalOrder, WithdrawalSource


SendOrder: TypeAlias = "Callable[[], Awaitable[Withdrawal]]"

POLL_SECONDS = 60.0
# Used if the API gives no delay.
PAUSE_SECONDS = 5.0
NOT_YET = "Machines has not signed the withdrawal yet. No money has moved."


async def request_signature(call: ServiceContext, withdrawal_id: Verbatim, terms: Mapping[str, Any]) -> Withdrawal:
    """Request the signature. While it is `pending`, poll at the API's interval for up to a minute.

    Raises:
        ToolError: `outcome.unknown` after a minute; repeating the call continues polling.
        PartnerError: The request failed. Unless it can be retried, the failure is recorded.
        Frozen: Changes were frozen before the request, or between two polls.
    """
    deadline = anyio.current_time() + POLL_SECONDS
    try:
        send = await order_sender(call, withdrawal_id, terms, call.idempotency_key)
        answer = await send()
    except (PartnerError, Frozen) as error:
        if isinstance(error, Frozen) or error.retryable:
            # The approval can be used again, and it was given for this quote.
            await call.services.state.withdrawals.release(withdrawal_id)
        else:
            await record_failure(call, withdrawal_id, error)
        raise
    while answer.status == "pending":
        pause = poll_interval(answer)
        if anyio.current_time() + pause > deadline:
            raise ToolError(Code.OUTCOME_UNKNOWN, message=NOT_YET, details={"retry_after_seconds": math.ceil(pause)})
        await call.progress(1 - (deadline - anyio.current_time()) / POLL_SECONDS, "the signature")
        await anyio.sleep(pause)
        answer = await poll_once(call, withdrawal_id, send, answer)
    return answer


async def poll_once(call: ServiceContext, withdrawal_id: Verbatim, send: SendOrder, previous: Withdrawal) -> Withdrawal:
    """Poll a withdrawal once; `previous` is its newest answer.

    Raises:
        ReadOnly: The call must not send mutations. Nothing was recorded.
    """
    if call.logged_as.read_only:
        raise ReadOnly
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
            await record_failure(call, withdrawal_id, error)
            raise
        # The poll had no effect, so the previous answer still holds. It must not be recorded as a refusal.
        await call.services.state.withdrawals.record(withdrawal_id, "pending")
        return previous


async def order_sender(call: ServiceContext, withdrawal_id: Verbatim, terms: Mapping[str, Any], key: str) -> SendOrder:
    """Return a function that sends the order and records the answer. It sends the same order each time."""
    order, client = _order(terms), await call.services.partner.client(call.logged_as)
    api, recorded = client.withdrawals, call.services.state.withdrawals

    async def send() -> Withdrawal:
        answer = await api.create(call.user_id, order, idempotency_key=key)
        signed_until = answer.expiry if answer.status == "ready" else None
        await recorded.record(withdrawal_id, answer.status, answer.model_dump(mode="json"), signed_until)
        return answer

    return send


async def record_failure(call: ServiceContext, withdrawal_id: Verbatim, error: PartnerError) -> None:
    await call.services.state.withdrawals.record(withdrawal_id, "rejected" if error.outcome_known else "unknown")


def poll_interval(answer: Withdrawal) -> float:
    return max(0.5, answer.retry_after_seconds or PAUSE_SECONDS)


def time_until_poll(answer: Withdrawal, since: float) -> float:
    """Return how many of the seconds before the next poll are left after `since`; 0 or less if it is due.

    After a negative time, the clock was set back, and nobody knows how long ago the answer came.
    """
    return poll_interval(answer) - since if since >= 0 else 0.0


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

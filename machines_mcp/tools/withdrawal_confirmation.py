"""Confirm a withdrawal by the transaction that the wallet sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.protocol.approval_arguments import WaitSeconds
from machines_mcp.protocol.errors import Code, FieldError, NextStep, ToolError
from machines_mcp.protocol.tool import NextStepOutput, NotExecuted, Output, Reconciliation, UserInput, tool
from machines_mcp.redaction.display import dollars
from machines_mcp.redaction.verbatim import Verbatim, VerbatimArgument
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.chain_errors import other_transaction
from machines_mcp.tools.quote_step import quote_again
from machines_mcp.tools.services import ServiceContext, next_step, user_detail
from machines_mcp.tools.signed_withdrawal import SOLANA_PATH, SignedWithdrawal
from machines_mcp.tools.withdrawal_plans import WithdrawalPlans
from machines_mcp.tools.withdrawal_transaction import WithdrawalId

if TYPE_CHECKING:
    from machines_mcp.chain.receipts import Confirmation

POLL_SECONDS = 1.0
_OTHER = "must be the hash of the transaction that is recorded for this withdrawal: another one is already confirmed"
_OTHERS = "must be of this withdrawal's own transaction: this one is recorded for another withdrawal that is done"
_ONLY_RECORDED = "only recorded: it is sent by the wallet"
_NOT_OF_CHAIN = "must be a hash of the chain that pays: on EVM chains 0x and 64 hex digits, on Solana base58"
_REVERTED_LATE = (
    "The transaction reverted, and the signature of Machines has expired. If no other was sent, quote it again."
)
_VOID = (
    "This transaction reverted, because the signatures were used or voided before. Another one may have paid this"
    " withdrawal: confirm that one. Only if there is none, quote it again once the signature has expired."
)
_NOTES = {
    "done": "The receipt shows that exactly this amount went to this recipient.",
    "sent": "It is not mined yet. Confirm it again.",
    "send": "It reverted, so it moved nothing. The withdrawal can still be sent.",
    "unverified": "It is not verified, because this server has no node of the chain.",
}


async def _no_wait(share: float) -> None:
    """Report no progress."""


class ConfirmWithdrawal(UserInput):
    withdrawal_id: WithdrawalId = Field(
        description="From create_withdrawal", examples=["the withdrawal_id from create_withdrawal"]
    )
    transaction_hash: Annotated[
        Verbatim, VerbatimArgument(pattern=r"^(0x[0-9a-fA-F]{64}|[1-9A-HJ-NP-Za-km-z]{64,90})$")
    ] = Field(description="From the wallet; on Solana the signature", examples=["0x and 64 hex digits"])
    wait_seconds: WaitSeconds = 0


class WithdrawalConfirmation(Output):
    withdrawal_id: Verbatim
    stage: Literal["send", "sent", "done"] = Field(description="send: not sent yet")
    transaction_hash: Verbatim
    block: int | None = Field(default=None, description="Block of the receipt")
    verified: bool = Field(description="By its receipt")
    differs: list[str] = Field(default_factory=list, description="From the quote")
    note: str = Field(description="What to know now")

    def summary(self) -> str:
        if self.stage == "send":
            return f"The transaction of the withdrawal was mined. {self.note}"
        return f"The transaction of the withdrawal is {'recorded' if self.stage == 'sent' else 'done'}. {self.note}"


async def _details(call: ServiceContext, args: ConfirmWithdrawal) -> ApprovalDetails:
    """Describe the record. A withdrawal that there is not, or is not signed, is refused before a person is asked."""
    found = await call.services.plans.find(call.user_id, args.withdrawal_id)
    amount = dollars(found.started.quote.terms["amount_cents"])
    return ApprovalDetails(
        question=f"Record a transaction for a withdrawal of {amount}?",
        items=(
            user_detail(call),
            Detail("Withdrawal", args.withdrawal_id, verbatim=True, by="agent"),
            Detail("Transaction", args.transaction_hash, _ONLY_RECORDED, verbatim=True, by="agent"),
        ),
    )


async def _reconcile(call: ServiceContext, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """Report it as not done: confirming again reads the chain again and changes nothing more."""
    return NotExecuted("Nothing may be recorded yet. Confirm it again.")


@tool(
    title="Confirm a withdrawal",
    toolset="withdrawals",
    action_class=ActionClass.WRITE,
    approval_details=_details,
    described=("user_id", "withdrawal_id", "transaction_hash"),
    reconcile=_reconcile,
    idempotent=True,
)
async def confirm_withdrawal(call: ServiceContext, args: ConfirmWithdrawal) -> WithdrawalConfirmation:
    """Confirm a withdrawal that the wallet has sent: record its transaction, and check by the receipt that exactly this
    amount went to this recipient."""

    async def waited(share: float) -> None:
        await call.progress(share, "the receipt")

    plans = call.services.plans
    found = await plans.find(call.user_id, args.withdrawal_id)
    confirmed = await confirmed_transaction(plans, found, args.transaction_hash, args.wait_seconds, waited)
    return confirmed.model_copy(update={"next_steps": [_after(call, confirmed)]})


async def confirmed_transaction(
    plans: WithdrawalPlans,
    found: SignedWithdrawal,
    transaction_hash: Verbatim,
    seconds: float = 0,
    on_wait: Callable[[float], Awaitable[None]] = _no_wait,
) -> WithdrawalConfirmation:
    """Record a transaction and read its receipt, for at most `seconds` after the first look.

    Raises:
        ToolError: The hash is not the recorded one or of no such chain, the node can't be used, or the transaction is
            mined and is not this withdrawal.
    """
    kept = found.transaction
    if transaction_hash.startswith("0x"):
        transaction_hash = Verbatim(transaction_hash.lower())
    if kept.state == "done":
        if kept.hash != transaction_hash:
            raise _invalid(_OTHER)
        return _result(found, "done", transaction_hash, kept.block)
    if (found.path != SOLANA_PATH) != transaction_hash.startswith("0x"):
        raise _invalid(_NOT_OF_CHAIN)
    # Before the node is asked: whatever it answers, the hash is not lost.
    await plans.transactions.sent(found.started.id, transaction_hash)
    confirmation = await _mined(plans, found, transaction_hash, seconds, on_wait)
    if confirmation is None:
        return _result(found, "sent", transaction_hash, note="unverified")
    if confirmation.state == "pending":
        return _result(found, "sent", transaction_hash)
    if confirmation.state == "done":
        return await _recorded(plans, found, transaction_hash, confirmation)
    return await _unpaid(plans, found, transaction_hash, confirmation)


async def _unpaid(
    plans: WithdrawalPlans, found: SignedWithdrawal, transaction_hash: Verbatim, confirmation: Confirmation
) -> WithdrawalConfirmation:
    """Take the hash back, and return what is left to do."""
    await _take_back(plans, found, transaction_hash, keep_earlier=confirmation.is_other)
    if confirmation.is_other:
        # A contract wallet calls in its own way. On Solana, the transfer is looked for only if the call is right.
        paid = confirmation.state == "different" and "transfer" not in confirmation.differs
        moved = paid and found.path != SOLANA_PATH
        raise other_transaction(found.started, ", ".join(confirmation.differs), moved=moved)
    if confirmation.is_void:
        raise ToolError(Code.WITHDRAWAL_STALE, message=_VOID)
    if not plans.is_alive(found):
        raise ToolError(Code.WITHDRAWAL_EXPIRED, message=_REVERTED_LATE, next_steps=[_quote_again(found)])
    return _result(found, "send", transaction_hash, confirmation.block, confirmation)


async def _take_back(
    plans: WithdrawalPlans, found: SignedWithdrawal, transaction_hash: Verbatim, *, keep_earlier: bool
) -> None:
    """Take back the hash. `keep_earlier`: it says nothing about the transaction that was recorded before it."""
    kept = found.transaction
    earlier = kept.hash if keep_earlier and kept.state == "sent" and kept.hash != transaction_hash else None
    await plans.transactions.take_back(found.started.id, transaction_hash, earlier)


async def _recorded(
    plans: WithdrawalPlans, found: SignedWithdrawal, transaction_hash: Verbatim, confirmation: Confirmation
) -> WithdrawalConfirmation:
    recorded = await plans.transactions.done(found.started.id, transaction_hash, confirmation.block)
    if recorded is not None and recorded.state != "done":
        await _take_back(plans, found, transaction_hash, keep_earlier=True)
    if recorded is not None and (recorded.state, recorded.hash) != ("done", transaction_hash):
        raise _invalid(_OTHER if recorded.state == "done" else _OTHERS)
    return _result(found, "done", transaction_hash, confirmation.block, confirmation)


async def _mined(
    plans: WithdrawalPlans,
    found: SignedWithdrawal,
    transaction_hash: str,
    seconds: float,
    on_wait: Callable[[float], Awaitable[None]],
) -> Confirmation | None:
    start = anyio.current_time()
    while True:
        confirmation = await plans.confirm(found, transaction_hash)
        left = start + seconds - anyio.current_time()
        if confirmation is None or confirmation.state != "pending" or left <= 0:
            return confirmation
        await on_wait(1 - left / seconds)
        await anyio.sleep(min(left, POLL_SECONDS))


def _result(
    found: SignedWithdrawal,
    stage: Literal["send", "sent", "done"],
    transaction_hash: Verbatim,
    block: int | None = None,
    confirmation: Confirmation | None = None,
    note: str = "",
) -> WithdrawalConfirmation:
    text = _NOTES[note or stage]
    if stage == "send" and confirmation is not None and confirmation.reason:
        text = f"It reverted, so it moved nothing: {confirmation.reason}. The withdrawal can still be sent."
    return WithdrawalConfirmation(
        withdrawal_id=found.started.id,
        stage=stage,
        transaction_hash=transaction_hash,
        block=block,
        verified=stage == "done",
        differs=[] if confirmation is None else list(confirmation.differs),
        note=text,
    )


def _after(call: ServiceContext, confirmed: WithdrawalConfirmation) -> NextStepOutput:
    known = {"withdrawal_id": confirmed.withdrawal_id}
    match confirmed.stage:
        case "done":
            return next_step(call, "get_balances", "See the remaining balance.")
        case "send":
            return next_step(call, "get_withdrawal_transaction", "Get the transaction again.", **known)
    if confirmed.note == _NOTES["unverified"]:
        return next_step(call, "get_balances", "See whether the balance has fallen: confirming again can't tell.")
    why = "See whether it is mined."
    return next_step(
        call, "confirm_withdrawal", why, **known, transaction_hash=confirmed.transaction_hash, wait_seconds=30
    )


def _quote_again(found: SignedWithdrawal) -> NextStep:
    return quote_again(found.started.quote, "Only if the user still wants it, quote it again on the same terms.")


def _invalid(rule: str) -> ToolError:
    return ToolError(Code.INPUT_INVALID, fields=[FieldError("transaction_hash", rule)])

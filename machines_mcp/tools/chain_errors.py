"""Errors for withdrawals that have no plan. Of outside parties they show addresses and a cleaned call path alone."""

from __future__ import annotations

from typing import Any

from machines_mcp.chain.faults import (
    ChainFault,
    CheckFailed,
    Expired,
    Malformed,
    NotSigned,
    RpcUnavailable,
    Stale,
    Unsupported,
    WrongSignature,
)
from machines_mcp.protocol.errors import Code, NextStep, ToolError
from machines_mcp.redaction.display import iso
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.withdrawals import StartedWithdrawal
from machines_mcp.tools.quote_step import quote_again
from machines_mcp.tools.signed_withdrawal import SignedWithdrawal
from machines_mcp.tools.text import clean

_AGAIN = "If no wallet sent it, quote it again on the same terms."
_NONCE = "Read adminNonce() of the collateral on chain, and give it as admin_nonce."
_MALFORMED = "Machines signed something that can't be read at {}. The withdrawal stays ready. Tell the operator."
_REFUSED = (
    "No transaction was prepared, because a check failed ({}). Expected: {}.{} This call moved nothing. Tell the"
    " operator."
)
_WRONG = (
    "This signature is not that of the account that must sign (signer){}. Pass typed_data on to the wallet unchanged,"
    " and have that account sign it."
)
_OTHER = "This transaction is mined, but it is not this withdrawal. It differs in: {}. Tell the user."
_MOVED = " It does move exactly this amount from the collateral to this recipient, so do not withdraw it again."
_NOT_PREPARED = "This call moved nothing. Call again, or tell the operator."
_NOT_READ = "The hash is recorded, but whether the transaction is mined is not known. Confirm it again."


def chain_error(fault: ChainFault, found: SignedWithdrawal, *, has_node: bool, confirms: bool = False) -> ToolError:
    """Return the error for the model. `has_node`: a node of the chain is set. `confirms`: a wallet sent something."""
    started = found.started
    match fault:
        case NotSigned():
            return not_ready(started)
        case Malformed(position=position):
            message = _MALFORMED.format(position)
            return ToolError(Code.PARTNER_MALFORMED, message=message, details={"position": position})
        case Unsupported(path=path, reason=reason):
            why = f" Reason: {reason}." if reason else ""
            message = f"This server can't prepare a transaction for this call path.{why} Tell the operator."
            return ToolError(Code.WITHDRAWAL_UNSUPPORTED, message=message, details={"call_path": clean(path, 40)})
        case Expired():
            return ToolError(
                Code.WITHDRAWAL_EXPIRED, next_steps=[_confirm(started), quote_again(started.quote, _AGAIN)]
            )
        case Stale():
            until = {"signature_expires_at": iso(found.transaction.expires_at)}
            return ToolError(Code.WITHDRAWAL_STALE, details=until, next_steps=[_confirm(started)])
        case CheckFailed(check="nonce") if not has_node:
            return _nonce_missing(fault, started)
        case CheckFailed():
            return _refused(fault)
        case WrongSignature(signer=signer, recovered=recovered):
            return _wrong(signer, recovered, started)
        case RpcUnavailable(why=why, setting=setting):
            node = f"The chain's node can't be used: {why}.{f' It is set by {setting}.' if setting else ''}"
            details = {"setting": setting} if setting else {}
            message = f"{node} {_NOT_READ if confirms else _NOT_PREPARED}"
            return ToolError(Code.CHAIN_UNAVAILABLE, message=message, details=details)
    return ToolError(Code.INTERNAL)


def other_transaction(started: StartedWithdrawal, differs: str, *, moved: bool) -> ToolError:
    """Return the error for a transaction that is not this withdrawal's. `moved`: it moves the money all the same."""
    return ToolError(
        Code.CHAIN_REFUSED,
        message=_OTHER.format(differs) + (_MOVED if moved else ""),
        details={"check": "receipt", "differs": differs},
        next_steps=[NextStep("get_withdrawal_transaction", "See what to send.", {"withdrawal_id": started.id})],
    )


def not_ready(started: StartedWithdrawal) -> ToolError:
    """Return the error for a withdrawal that Machines has not signed."""
    if started.status == "confirmed":
        message = "A person recorded that this withdrawal was made. What Machines signed is not known here."
        return ToolError(Code.WITHDRAWAL_NOT_READY, message=message, retryable=False)
    known: dict[str, Any] = {"quote_id": started.quote.id}
    if started.approval_id is not None:
        known["approval_id"] = Verbatim(started.approval_id)
    step = NextStep("create_withdrawal", "Ask again whether Machines has signed. This requests nothing twice.", known)
    return ToolError(Code.WITHDRAWAL_NOT_READY, next_steps=[step])


def _refused(fault: CheckFailed) -> ToolError:
    decides = f" Decided by {fault.setting}." if fault.setting else ""
    details = {"check": fault.check} | ({"setting": fault.setting} if fault.setting else {})
    message = _REFUSED.format(fault.check, fault.expected, decides)
    return ToolError(Code.CHAIN_REFUSED, message=message, details=details)


def _nonce_missing(fault: CheckFailed, started: StartedWithdrawal) -> ToolError:
    step = NextStep("get_withdrawal_transaction", _NONCE, {"withdrawal_id": started.id})
    message = f"The nonce of the collateral is not known. {_NONCE} Or the operator sets {fault.setting}."
    details = {"check": fault.check, "setting": fault.setting}
    return ToolError(Code.CHAIN_REFUSED, message=message, details=details, next_steps=[step])


def _wrong(signer: str, recovered: str | None, started: StartedWithdrawal) -> ToolError:
    details: dict[str, str | int] = {"signer": Verbatim(signer)}
    if recovered is not None:
        details["recovered"] = Verbatim(recovered)
    other = "" if recovered is None else ", but of another one (recovered)"
    message = _WRONG.format(other)
    step = NextStep("get_withdrawal_transaction", "Get the typed data again.", {"withdrawal_id": started.id})
    return ToolError(Code.SIGNATURE_WRONG, message=message, details=details, next_steps=[step])


def _confirm(started: StartedWithdrawal) -> NextStep:
    why = "If a wallet sent it, give the hash of that transaction, to see whether the money moved."
    return NextStep("confirm_withdrawal", why, {"withdrawal_id": started.id})

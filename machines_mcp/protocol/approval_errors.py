"""What a person's decision, its absence or a limit means for a call, in words of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil
from typing import NoReturn

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.authorizer import Authorization
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.limits import CLOCK_SET_BACK
from machines_mcp.protocol.errors import Code, NextStep, ToolError
from machines_mcp.protocol.tool import Tool

_SECONDS = 5.0
_AGAIN = (
    "Call again with the same arguments and this approval_id: that finds out, returns the outcome, and does nothing"
    " twice."
)
_FOR_A_PERSON = (
    "It is not known whether this happened, and Machines can't be asked. Do not repeat it: a person must look, with"
    " machines-mcp doctor --resolve in a terminal on this machine; tell the user."
)
_ANEW = "The same call without approval_id, to ask anew."


def raise_denied(tool: Tool, authorization: Authorization) -> NoReturn:
    """Refuse a call that neither waits nor runs. Its arguments are not repeated here."""
    if authorization.verdict == "barred" and authorization.limit is not None:
        raise limit_exceeded(authorization.limit)
    match authorization.verdict:
        case "refused":
            raise ToolError(Code.APPROVAL_REFUSED)
        case "expired":
            raise ToolError(Code.APPROVAL_EXPIRED, next_steps=[NextStep(tool.name, _ANEW)])
        case "running" | "later" if authorization.approval is not None:
            raise outcome_unknown(authorization.approval, authorization.seconds, why=authorization.why)
        case "manual":
            raise ToolError(Code.OUTCOME_UNKNOWN, message=_FOR_A_PERSON)
        case _:
            raise ToolError(Code.APPROVAL_MISMATCH, next_steps=[NextStep(tool.name, _ANEW)])


def outcome_unknown(
    approval: Approval, seconds: float | None = None, *, see: Sequence[NextStep] = (), why: str | None = None
) -> ToolError:
    """A granted call of which nobody can say yet whether it happened: the same call with its id finds out.

    `see` are the calls that show it, too; `why` says what is known all the same.
    """
    wait = max(1, ceil(_SECONDS if seconds is None else seconds))
    again = NextStep(approval.tool, f"The same call, in {wait} seconds or later.", {"approval_id": approval.id})
    return ToolError(
        Code.OUTCOME_UNKNOWN,
        message=f"{why} {_AGAIN}" if why else f"It is not known yet whether this happened. {_AGAIN}",
        details={"approval_id": approval.id, "retry_after_seconds": wait},
        next_steps=[again, *see],
        retryable=True,
    )


def not_executed(approval: Approval, why: str) -> ToolError:
    """A granted call that was cut short before it did anything, and whose approval can't be used any more."""
    message = f"Nothing was done, and the approval can't be used any more. {why}"
    return ToolError(Code.APPROVAL_EXPIRED, message=message, next_steps=[NextStep(approval.tool, _ANEW)])


def limit_exceeded(bar: LimitExceeded) -> ToolError:
    """A limit of the policy, named by its path, or a pause, with its end."""
    if bar.code == CLOCK_SET_BACK:
        message = "The clock of the server's machine was set back, so no limit can be kept; tell the operator."
        return ToolError(Code.POLICY_DENIED, message=message, details={"limit": bar.code})
    if bar.until is None:
        message = (
            f"A limit of the operator's policy forbids this: {bar.code}. It can't be approved either; tell the user."
            " status shows what is left of each limit."
        )
        return ToolError(Code.POLICY_DENIED, message=message, details={"limit": bar.code})
    until = datetime.fromtimestamp(bar.until, UTC).isoformat(timespec="seconds")
    message = (
        f"A person refused this three times within ten minutes, so it is paused until {until}; do not ask again before"
        " then, and after it only if the user wants it."
    )
    return ToolError(Code.POLICY_DENIED, message=message, details={"paused_until": until})


def approval_required(
    tool: Tool, approval: Approval, *, page: str | None, desk: str | None, decidable: bool
) -> ToolError:
    """A person must decide first, and where they can: on a page of its own, at the desk, or in a terminal."""
    details = {"approval_id": approval.id}
    if page is not None:
        details |= {"where": f"the user opens this page on this machine and decides there: {page}", "page": page}
    elif not decidable:
        details["where"] = "nowhere yet: the operator must first set a passphrase with machines-mcp passphrase"
    else:
        terminal = "in a terminal on this machine with machines-mcp approve"
        details["where"] = terminal if desk is None else f"at the desk, {desk}, or {terminal}"
        if desk is not None:
            details["desk"] = desk
    again = NextStep(tool.name, "The same call, after the person approved.", {"approval_id": approval.id})
    return ToolError(Code.APPROVAL_REQUIRED, details=details, next_steps=[again])

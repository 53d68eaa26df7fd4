"""Build the errors for calls that lack approval, exceed a limit or have an unknown outcome."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NoReturn

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import CallRequest, EarlierCall
from machines_mcp.permissions.authorizer import Authorization
from machines_mcp.permissions.clock import CLOCK_SET_BACK
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.earlier_calls import said
from machines_mcp.permissions.limits import UNCOUNTED
from machines_mcp.permissions.policy import Policy
from machines_mcp.protocol.errors import Code, NextStep, ToolError
from machines_mcp.protocol.tool import Tool
from machines_mcp.redaction.display import iso
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.freeze import Frozen

_SECONDS = 5.0
WAIT_SECONDS = 30
"""How long the suggested call waits for a person's decision. Clients give up after 60 seconds by default."""
_AGAIN = (
    "Call again with the same arguments and this approval_id: that returns the outcome and never does anything twice."
)
_FOR_A_PERSON = (
    "It is unknown whether this happened, and the API can't tell. Do not repeat it: tell the user that a person must"
    " run machines-mcp doctor --resolve in a terminal on this machine."
)
_ANEW = "Make the same call without approval_id to request a new approval."


def as_tool_error(error: Exception) -> ToolError:
    """Return the error of the catalogue that a call ends with."""
    if isinstance(error, ToolError):
        return error
    if isinstance(error, Frozen):
        return ToolError(Code.POLICY_FROZEN, next_steps=[NextStep("status", "See what is frozen, and since when.")])
    return ToolError(Code.STATE_UNAVAILABLE if isinstance(error, StoreUnavailable) else Code.INTERNAL)


def raise_denied(tool: Tool, authorization: Authorization) -> NoReturn:
    """Raise the error for a call that can neither run nor wait. The error never repeats its arguments."""
    if authorization.verdict == "limit_exceeded" and authorization.limit is not None:
        raise limit_exceeded(authorization.limit)
    match authorization.verdict:
        case "refused":
            raise ToolError(Code.APPROVAL_REFUSED)
        case "withdrawn":
            raise ToolError(Code.APPROVAL_WITHDRAWN)
        case "expired":
            raise ToolError(Code.APPROVAL_EXPIRED, next_steps=[NextStep(tool.name, _ANEW, repeats=True)])
        case "running" | "later" if authorization.approval is not None:
            raise outcome_unknown(authorization.approval, authorization.seconds, why=authorization.why)
        case "needs_person":
            raise ToolError(Code.OUTCOME_UNKNOWN, message=_FOR_A_PERSON)
        case _:
            raise ToolError(Code.INTERNAL)


def again(approval: Approval, why: str, **more: int) -> NextStep:
    """Return the step that repeats the call of an approval."""
    return NextStep(approval.tool, why, {"approval_id": approval.id, **more}, repeats=True)


def outcome_unknown(
    approval: Approval, seconds: float | None = None, *, see: Sequence[NextStep] = (), why: str | None = None
) -> ToolError:
    """Return the error for an approved call whose outcome is unresolved: repeating it with its id reconciles it.

    `see` are other calls that show the outcome; `why` is a sentence with what is known so far.
    """
    wait = max(1, ceil(_SECONDS if seconds is None else seconds))
    return ToolError(
        Code.OUTCOME_UNKNOWN,
        message=f"{why} {_AGAIN}" if why else f"The outcome is not known yet. {_AGAIN}",
        details={"approval_id": approval.id, "retry_after_seconds": wait},
        next_steps=[again(approval, f"Repeat the same call after {wait} seconds."), *see],
        retryable=True,
    )


def not_executed(approval: Approval, why: str) -> ToolError:
    """Return the error for an approved call that did nothing, and whose approval is no longer usable."""
    # What an earlier try sent may have had an effect after all.
    earlier = "This call did nothing, but an earlier try may have had an effect"
    nothing = earlier if approval.returned else "Nothing was done"
    message = f"{nothing}, and this approval can no longer be used. {why}"
    return ToolError(Code.APPROVAL_EXPIRED, message=message, next_steps=[NextStep(approval.tool, _ANEW, repeats=True)])


def policy_denied(policy: Policy, request: CallRequest) -> ToolError:
    """Return the error for a call that the policy denies, with the policy's reason."""
    reason = policy.reason(request.action_class, request.tool)
    message = f"The operator's policy does not allow this: {reason}. No tool can change that; tell the user."
    return ToolError(Code.POLICY_DENIED, message=message, details={"class": request.action_class.value})


def limit_exceeded(exceeded: LimitExceeded) -> ToolError:
    """Return the error for an exceeded limit (named by its path) or a cooldown (with its end)."""
    if exceeded.code == CLOCK_SET_BACK:
        message = (
            "The server's clock is behind its stored rows, so limits can't be enforced. Tell the operator"
            " (machines-mcp doctor)."
        )
        return ToolError(Code.POLICY_DENIED, message=message, details={"limit": exceeded.code})
    if exceeded.code.endswith("asks_per_minute"):
        message = (
            f"A person was asked as often as the operator's policy allows: {exceeded.code}. This can be asked again"
            " within 60 seconds; tell the user, and use status to see what is left of each limit."
        )
        return ToolError(Code.POLICY_DENIED, message=message, details={"limit": exceeded.code})
    if exceeded.until is None:
        message = (
            f"A limit of the operator's policy forbids this: {exceeded.code}. Approval can't override it; tell the user"
            f"{'' if exceeded.code in UNCOUNTED else ', and use status to see what is left of each limit'}."
        )
        return ToolError(Code.POLICY_DENIED, message=message, details={"limit": exceeded.code})
    until = iso(exceeded.until)
    message = (
        f"A person refused this three times within ten minutes, so a cooldown applies until {until}. Do not ask before"
        " then, and afterwards only if the user wants it."
    )
    return ToolError(Code.POLICY_DENIED, message=message, details={"cooldown_until": until})


_THEN = "Tell the user where, then make the call in next_steps, which waits for it."
_TWO_WAYS = (
    "A person must approve a second {0}: only if the user wants one, tell them where to, then make the first call in"
    " next_steps, which waits for it. For the first {0}, make the second call in next_steps."
)
_ON_A_PAGE = {
    "form": f"The user must fill in the identity form first. {_THEN}",
    "page": f"The user must open the card's page and decide there first. {_THEN}",
}
"""What `approval.required` says of a call that only one page decides, by the kind of page."""


def approval_required(
    approval: Approval, *, page: str | None, desk: str | None, decidable: bool, waited: bool = False
) -> ToolError:
    """Return `approval.required` with its expiry and where to decide: on its own page, at the desk or in a terminal.

    `waited`: the call has waited for the decision already.
    """
    details: dict[str, str | int] = {"approval_id": approval.id, "expires_at": iso(approval.expires_at)}
    if waited:
        details["still_waiting"] = True
    if page is not None:
        details |= {"where": f"on this page, which the user opens on this machine: {page}", "page": page}
    elif not decidable:
        details["where"] = "nowhere yet: the operator must set a passphrase with machines-mcp passphrase"
    else:
        terminal = "in a terminal on this machine with machines-mcp approve"
        details["where"] = terminal if desk is None else f"at the desk, {desk}, or {terminal}"
        if desk is not None:
            details["desk"] = desk
    why = "Wait for the person's decision, after telling the user where they can decide."
    steps = [again(approval, why, wait_seconds=WAIT_SECONDS)]
    message = None if page is None else _ON_A_PAGE.get(approval.details.only or "")
    earlier = approval.details.earlier
    if earlier is not None:
        message = f"{said(earlier, approval.created_at).capitalize()}. {_TWO_WAYS.format(earlier.what)}"
        steps.append(earlier_step(earlier))
    return ToolError(Code.APPROVAL_REQUIRED, message=message, details=details, next_steps=steps)


def earlier_step(earlier: EarlierCall) -> NextStep:
    """Return the step that gets the result of an equal call that ran before."""
    return NextStep(
        "", f"Returns the first {earlier.what}. Creates nothing.", {"approval_id": earlier.approval_id}, repeats=True
    )

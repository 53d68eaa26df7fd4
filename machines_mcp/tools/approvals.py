"""Withdraw an approval request of this server process that still waits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.protocol.errors import Code, NextStep, ToolError
from machines_mcp.protocol.responses import STATUS
from machines_mcp.protocol.tool import Input, Output, tool
from machines_mcp.protocol.withheld import outcome_tool
from machines_mcp.redaction.display import iso
from machines_mcp.redaction.verbatim import Verbatim, VerbatimArgument
from machines_mcp.tools.services import ServiceContext

_UNKNOWN = (
    "This server process made no approval request with this approval_id, so it can't withdraw one. status shows what"
    " waits; a person can refuse it at the desk or with machines-mcp deny."
)
_OUTCOME = "Make that call again with this approval_id for its outcome; that never does anything twice."
_TOO_LATE = {
    "granted": "A person approved this already, so it can't be withdrawn. Don't make that call again: then nothing is"
    " done, and the approval ends at expires_at.",
    "executing": f"A person approved this already, and the call is running. {_OUTCOME}",
    "done": f"A person approved this already, and the call is done. {_OUTCOME}",
    "failed": f"A person approved this already, and the call failed. {_OUTCOME}",
    "refused": "A person refused this already, and nothing was done. There is nothing to withdraw.",
    "expired": "This request expired, and nothing was done. There is nothing to withdraw.",
}


class CancelApproval(Input):
    """`approval_id` is an argument of the tool's own: it asks nobody, so none of its calls has an approval."""

    approval_id: Annotated[Verbatim, VerbatimArgument(pattern=r"^[0-9a-f]{32}$")] = Field(
        description="From approval.required", examples=["the approval_id from approval.required"]
    )


class ApprovalCancelled(Output):
    approval_id: Verbatim
    tool: str
    status: str

    def summary(self) -> str:
        return "The request is withdrawn, and nothing was done."


@tool(
    title="Cancel an approval request",
    toolset="always",
    action_class=ActionClass.WRITE,
    protective=lambda _: True,
    idempotent=True,
    open_world=False,
)
async def cancel_approval(call: ServiceContext, args: CancelApproval) -> ApprovalCancelled:
    """Cancel a waiting approval request that the user no longer wants. Needs no approval. Repeating the cancelled call
    needs a new approval."""
    approvals = call.services.state.guard.approvals
    found = await approvals.refusals.withdraw(args.approval_id)
    if found is None:
        raise ToolError(Code.NOT_FOUND, message=_UNKNOWN, next_steps=[STATUS])
    if found.shown_state != "withdrawn":
        raise _too_late(call, found, "expired" if approvals.is_expired(found) else found.state)
    return ApprovalCancelled(approval_id=Verbatim(found.id), tool=found.tool, status=found.shown_state)


def _too_late(call: ServiceContext, found: Approval, status: str) -> ToolError:
    details: dict[str, str | int] = {"status": status}
    if status == "granted":
        details["expires_at"] = iso(found.expires_at)
    user = call.services.state.user_argument(found.user_id)
    steps = [NextStep(outcome_tool(found.tool), "See what the call did.", user)] if found.started else []
    return ToolError(Code.APPROVAL_NOT_WAITING, message=_TOO_LATE[status], details=details, next_steps=steps)

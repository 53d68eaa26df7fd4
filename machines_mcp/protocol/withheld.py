"""The errors that take the place of tool results that the output filter withholds."""

from __future__ import annotations

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.protocol.errors import Code, NextStep, ToolError
from machines_mcp.redaction.verbatim import Verbatim

_WHY = "its response was withheld because it would have shown a secret or could not be checked"
_OPERATOR = "tell the operator, who can run machines-mcp audit show --kind alarm"
_READ = f"The call changed nothing, and {_WHY}. The same call would be withheld again; {_OPERATOR}."
_CHANGED = (
    f"The call succeeded and its outcome is recorded, but {_WHY}. Do not repeat it: read the current state, and"
    f" {_OPERATOR}."
)
_STATUS = NextStep("status", "See what is unresolved, and what is left of each limit.")

# The tool that shows whether a call took effect, or lists the valid ids.
_OUTCOME_TOOLS = {
    "create_card": "list_cards",
    "update_card": "list_cards",
    "close_card": "list_cards",
    "get_card": "list_cards",
    "reveal_card": "list_cards",
    "create_deposit": "list_deposits",
    "get_deposit": "list_deposits",
    "submit_kyc": "get_kyc_status",
    "accept_agreements": "get_agreements",
    "resolve_user": "resolve_user",
}


def outcome_tool(tool: str) -> str:
    """Return the tool that shows whether a call of `tool` took effect."""
    return _OUTCOME_TOOLS.get(tool, "status")


def withheld_error(tool: str, action_class: str, user_id: str = "") -> ToolError:
    """Return the error in place of the result of a call that succeeded. `user_id`: for the step to another tool."""
    changed = action_class != ActionClass.READ
    user = {"user_id": Verbatim(user_id)} if user_id else {}
    place = outcome_tool(tool) if changed else tool
    steps = [] if place in (tool, "status") else [NextStep(place, "See what the call did.", user)]
    steps += [] if tool == "status" else [_STATUS]
    return ToolError(Code.OUTPUT_BLOCKED, message=_CHANGED if changed else _READ, next_steps=steps)


def withheld_outcome(approval: Approval, *, ok: bool) -> ToolError:
    """Return what to store in place of an outcome that would be withheld. `ok`: the call succeeded."""
    if ok:
        return withheld_error(approval.tool, approval.action_class)
    return ToolError(Code.OUTCOME_UNKNOWN, next_steps=[_STATUS])


def withheld_unclear() -> ToolError:
    """Return the error in place of a question, of an error, or of a result that can't name its call."""
    return ToolError(Code.OUTPUT_BLOCKED, next_steps=[_STATUS])

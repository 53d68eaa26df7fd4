"""Arguments for waiting and for approvals, which belong to the call and not to what is approved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from machines_mcp.protocol.tool import Input
from machines_mcp.redaction.placeholders import ABSENT_WORDS

WaitSeconds = Annotated[int, Field(ge=0, le=50, description="Wait for a change")]
"""Seconds a call may wait for a change before it returns `still_waiting`."""

_APPROVAL_ID = re.compile(r"[0-9a-f]{32}")


def _approval_id(value: Any) -> Any:
    if value == "" or (isinstance(value, str) and value in ABSENT_WORDS):
        return None
    if isinstance(value, str) and _APPROVAL_ID.fullmatch(value):
        return value
    rule = "must be the approval_id from an approval.required error; leave it out to request a new approval"
    raise PydanticCustomError("machines_rule", rule)


ApprovalId = Annotated[str | None, BeforeValidator(_approval_id)]


class ApprovalArguments(Input):
    """`approval_id` refers to a waiting or finished call, and `wait_seconds` waits for the person's decision on it."""

    approval_id: ApprovalId = Field(
        default=None, description="Continue after approval.required", json_schema_extra={"pattern": "^[0-9a-f]{32}$"}
    )
    # Without a default, because zero need not be listed a dozen times.
    wait_seconds: Annotated[int, Field(ge=0, le=50)] | None = Field(default=None, description="Wait for the decision")


NAMES = tuple(ApprovalArguments.model_fields)


def taken_from(arguments: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return these arguments of a call, and remove those from `arguments` that are not the tool's `own`, too."""
    found = {name: arguments[name] for name in NAMES if name in arguments}
    for name in found:
        if name not in own:
            del arguments[name]
    return found

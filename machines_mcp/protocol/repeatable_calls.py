"""The calls that errors tell the model to make next, complete with their arguments.

Identity data, and text that the output filter would mask, is never repeated to the model. This process keeps those
arguments in memory until the approval can no longer be used, and adds them to the repeated call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approvals import GRANT_SECONDS, OPEN_SECONDS
from machines_mcp.permissions.authorizer import Authorization
from machines_mcp.permissions.earlier_calls import said
from machines_mcp.protocol.approval_errors import earlier_step
from machines_mcp.protocol.errors import REPEATABLE, Code, FieldError, NextStep, ToolError
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.responses import STATUS, ToolRun
from machines_mcp.protocol.tool import Input, Tool
from machines_mcp.protocol.tool_call import ToolCall
from machines_mcp.redaction.message_masking import MessageMasking
from machines_mcp.redaction.verbatim import Verbatim, collect_verbatim

MAX_KEPT = 500
_AS_ASKED = "Repeat the call that a person was asked about."
_NOT_SHOWN = " The arguments named in give_again are not shown here: "
_WITH_ID = "leave them out, or give them again, unchanged."
_WITHOUT_ID = "give them again, unchanged."
_MISSING = "is missing; give it again, unchanged"
_DIFFERS = "differs from the call that a person was asked about; give it again, unchanged"
_ONE_DIFFERS = "or another argument named here differs from the call that a person was asked about; give them unchanged"
_NOT_KEPT = (
    "This server does not have the arguments in give_again: it restarted, or another server got the call. Repeat the"
    " call with the same approval_id and all its arguments, unchanged; ask the user for those that you do not have."
)
_UNKNOWN_ID = (
    "No call of this user waits under this approval_id. Use the approval_id exactly as approval.required gave it;"
    " status shows what waits."
)


@dataclass(frozen=True, slots=True)
class _Kept:
    tool: Tool
    arguments: Input = field(repr=False)


class RepeatableCalls:
    """Remembers the calls that wait for approval, and completes the next steps of errors."""

    def __init__(self, registry: Registry) -> None:
        self._tools = registry.tools
        self._pinned = registry.principal.pinned is not None
        self._kept: dict[str, _Kept] = {}

    def note(self, call: ToolCall, authorization: Authorization) -> None:
        """Keep the call's arguments for as long as its approval can be open and granted."""
        approval = authorization.approval
        if approval is None or authorization.verdict == "mismatch":
            return
        if authorization.verdict in ("refused", "withdrawn", "expired"):
            self.forget(approval.id)
            return
        if approval.id not in self._kept:
            asyncio.get_running_loop().call_later(OPEN_SECONDS + GRANT_SECONDS, self.forget, approval.id)
        self._kept[approval.id] = _Kept(call.tool, call.arguments)
        while len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]

    def forget(self, approval_id: str) -> None:
        """Drop the arguments of a call that no longer waits."""
        self._kept.pop(approval_id, None)

    def restored(self, tool: Tool, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a repeated call, with those that were not shown to the model."""
        approval_id = raw.get("approval_id")
        kept = self._kept.get(approval_id) if isinstance(approval_id, str) else None
        if kept is None or kept.tool is not tool:
            return dict(raw)
        given = _given(kept.arguments)
        return {name: given[name] for name in _not_shown(tool, given)} | dict(raw)

    def completed(self, payload: dict[str, Any], call: ToolCall | None) -> dict[str, Any]:
        """Return the error with next steps that run as they stand. None is the same call if that would fail again."""
        steps = payload["next_steps"]
        if call is None:
            return payload
        repeatable = payload["code"] in REPEATABLE
        if not steps and payload["retryable"] and repeatable:
            steps = [_again(payload.get("retry_after_seconds"))]
        given = self._own(_given(call.arguments))
        hidden = _not_shown(call.tool, given)
        whole = {name: value for name, value in given.items() if name not in hidden}
        found = [self._complete(dict(step), call, whole, hidden) for step in steps]
        if not repeatable:
            found = [step for step in found if (step["tool"], step["arguments"]) != (call.tool.name, given)]
        repeats = any(step.get("repeats") for step in steps)
        return payload | {"next_steps": found} | ({"give_again": hidden} if hidden and repeats else {})

    def noted(self, ran: ToolRun, call: ToolCall, approval: Approval) -> ToolRun:
        """Return the result with what an equal call made before, and the step that gets that."""
        earlier = approval.details.earlier
        if earlier is None:
            return ran
        told = f"{said(earlier, approval.created_at).capitalize()}; this made a second one."
        given = self._own(_given(call.arguments))
        hidden = _not_shown(call.tool, given)
        whole = {name: value for name, value in given.items() if name not in hidden}
        step = self._complete(earlier_step(earlier).payload(), call, whole, hidden)
        return replace(
            ran,
            outcome=ran.outcome | {"next_steps": [*ran.outcome["next_steps"], step]},
            summary=f"{ran.summary} {told}",
            ephemeral=ran.ephemeral | {"already_made": told},
            verbatim=ran.verbatim | collect_verbatim(whole),
        )

    def mismatch(self, call: ToolCall, approval: Approval | None) -> ToolError:
        """Return the error for an approval id that belongs to another call, naming what differs."""
        if approval is None:
            field_error = FieldError("approval_id", "is not the id of a call that waits or ran here")
            return ToolError(Code.APPROVAL_MISMATCH, message=_UNKNOWN_ID, fields=[field_error], next_steps=[STATUS])
        if approval.user_id != call.request.user_id:
            fields = [FieldError("user_id", "differs from the user of the call that a person was asked about")]
            return ToolError(Code.APPROVAL_MISMATCH, fields=fields, next_steps=[STATUS])
        kept = self._kept.get(approval.id)
        if approval.tool != call.tool.name:
            fields = [FieldError("approval_id", f"is for a call of {approval.tool}")]
        elif kept is None:
            return _mismatch_elsewhere(call, approval)
        else:
            fields = list(_differences(kept.arguments, call.arguments))
        if kept is None:
            return ToolError(Code.APPROVAL_MISMATCH, fields=fields, next_steps=[STATUS])
        given = self._own(_given(kept.arguments))
        hidden = _not_shown(kept.tool, given)
        shown = {name: value for name, value in given.items() if name not in hidden} | {"approval_id": approval.id}
        why = _AS_ASKED + (_NOT_SHOWN + _WITH_ID if hidden else "")
        step = NextStep(kept.tool.name, why, shown)
        return ToolError(Code.APPROVAL_MISMATCH, fields=fields, next_steps=[step], give_again=hidden)

    def _complete(
        self, step: dict[str, Any], call: ToolCall, whole: Mapping[str, Any], hidden: list[str]
    ) -> dict[str, Any]:
        arguments = step["arguments"]
        if step.pop("repeats", False):
            step["tool"], step["arguments"] = call.tool.name, whole | arguments
            if hidden:
                step["why"] += _NOT_SHOWN + (_WITH_ID if "approval_id" in arguments else _WITHOUT_ID)
            return step
        tool = self._tools.get(step["tool"])
        if tool is not None and tool.per_user and not self._pinned and call.request.user_id:
            step["arguments"] = {"user_id": Verbatim(call.request.user_id)} | arguments
        return step

    def _own(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments without `user_id` if the server is pinned, where it is none."""
        return {name: value for name, value in given.items() if not (self._pinned and name == "user_id")}


def _again(seconds: int | None) -> dict[str, Any]:
    why = "Repeat the same call." if seconds is None else f"Repeat the same call after {seconds} seconds."
    return NextStep("", why, repeats=True).payload()


def _given(arguments: Input) -> dict[str, Any]:
    """Return the validated arguments that were given, by name."""
    values = {name: getattr(arguments, name) for name in type(arguments).model_fields}
    return {k: v for k, v in values.items() if k in arguments.model_fields_set and v is not None}


def compared_arguments(call: ToolCall) -> dict[str, Any]:
    """Return what the approval stores of a call's arguments: the hidden names, and a digest of each of the others.

    Hidden ones may be identity data, of which some has so few possible values that a digest would be guessed.
    """
    hidden = tuple(_not_shown(call.tool, _given(call.arguments)))
    return {"hidden": hidden, "digests": {k: v for k, v in call.digests.items() if k not in hidden}}


def _not_shown(tool: Tool, given: Mapping[str, Any]) -> list[str]:
    """Return the names of the arguments that must not be repeated to the model."""
    return [name for name, value in given.items() if name in tool.withheld or _is_masked(name, value)]


def _is_masked(name: str, value: Any) -> bool:
    one = {name: value}
    return bool(MessageMasking(frozenset(collect_verbatim(one))).masked(one) != one)


def _mismatch_elsewhere(call: ToolCall, approval: Approval) -> ToolError:
    """Return the error for other arguments than those that a person was asked about by a process that kept them."""
    hidden, given, known = approval.details.hidden, _given(call.arguments), approval.details.digests
    missing = [FieldError(name, _MISSING) for name in hidden if name not in given]
    fields = list(missing)
    if known is not None:
        shown = [name for name in call.tool.input_model.model_fields if name not in hidden]
        fields += [fault for name in shown for fault in _fault(name, known.get(name), call.digests.get(name))]
        rule = _DIFFERS if len(hidden) == 1 else _ONE_DIFFERS
        fields = fields or [FieldError(name, rule) for name in hidden]
    fields = fields or [FieldError("(arguments)", "differ from those that a person was asked about")]
    message = _NOT_KEPT if missing else None
    return ToolError(Code.APPROVAL_MISMATCH, message=message, fields=fields, give_again=hidden, next_steps=[STATUS])


def _differences(asked: Input, given: Input) -> Iterator[FieldError]:
    for name in type(asked).model_fields:
        yield from _fault(name, getattr(asked, name), getattr(given, name))


def _fault(name: str, before: Any, after: Any) -> Iterator[FieldError]:
    """Yield what is wrong with an argument, if it differs. None is absent."""
    if before == after:
        return
    if after is None:
        yield FieldError(name, _MISSING)
    elif before is None:
        yield FieldError(name, "was not part of the call that a person was asked about; leave it out")
    else:
        yield FieldError(name, _DIFFERS)

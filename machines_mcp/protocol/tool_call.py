"""One validated tool call. It is made once and passed down, and each part below gets its own view of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval, arguments_digest, each_digest
from machines_mcp.permissions.approval_details import CallRequest
from machines_mcp.permissions.policy import Rule
from machines_mcp.protocol import elicitation
from machines_mcp.protocol.allowance import Allowance, allowance_of
from machines_mcp.protocol.approval_errors import policy_denied
from machines_mcp.protocol.arguments import parse, validate
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.tool import Input, Tool

Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A validated call.

    The parts below get views of it: authorization its `request`, the tool's functions a `ToolContext`, and the journal
    a `CallContext`.
    """

    tool: Tool
    arguments: Input
    request: CallRequest
    rule: Rule
    """The policy's rule for the call."""
    idempotency_key: str
    """Unique to the call; empty for a read. An approved call uses its approval's key instead."""
    client: Context | None = None
    """The client's request, for dialogs and progress; None if a form made the call."""
    dialog: elicitation.Dialog | None = None
    """How the client shows a dialog; None if it shows none, or the call needs none."""
    allowance: Allowance = field(default_factory=Allowance)
    """What the response may show."""
    approval_id: str | None = None
    """The approval that the call continues."""
    answer: elicitation.DialogAnswer | None = None
    """The dialog's answer that came with the call."""
    wait_seconds: int = 0
    """How long the call waits for a person's decision."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """A digest of each argument; none if no approval can be needed, or if a form made the call."""

    async def report(self, fraction: float, message: str) -> None:
        """Report the progress of a wait to the client: a fraction (0 to 1) and what the wait is for."""
        if self.client is not None:
            await self.client.session.report_progress(fraction, 1.0, message)


class CallReader:
    """Makes calls of requests. `digest_key` keys the digest by which a repeated call finds its approval.

    `restored` adds the arguments that a repeated call may leave out.
    """

    def __init__(
        self, registry: Registry, digest_key: bytes, restored: Callable[[Tool, Mapping[str, Any]], dict[str, Any]]
    ) -> None:
        self._registry = registry
        self._restored = restored
        self._digest_key = digest_key

    def read(
        self, tool: Tool, raw: Mapping[str, Any], client: Context, params: types.CallToolRequestParams | None = None
    ) -> ToolCall:
        """Return the call that a client's request makes.

        Raises:
            ToolError: The arguments are invalid, the policy denies the tool, or it doesn't allow the user.
        """
        registry, policy = self._registry, self._registry.policy
        try:
            parsed = parse(
                tool,
                self._restored(tool, raw),
                pinned_user=registry.principal.pinned,
                forbidden=registry.forbidden[tool.name],
                asks=tool.name in registry.approvable_names,
            )
        except ToolError:
            if tool.name in registry.usable_names:
                raise
            # The policy denies this tool, so fixing the arguments would not help.
            raise policy_denied(policy, unvalidated_request(tool)) from None
        arguments, approval_id = parsed.arguments, parsed.approval.approval_id
        action_class, user_id = tool.classify(arguments), getattr(arguments, "user_id", "")
        if not registry.principal.may_act_for(user_id):
            raise ToolError(Code.NOT_FOUND)
        rule, allowance = policy.rule(action_class, tool.name), allowance_of(client)
        if action_class is ActionClass.READ and rule is Rule.ALLOW:
            # An allowed read needs no approval and sends no key, so no digest. Most calls are such reads.
            request = CallRequest(tool.name, action_class, user_id, "")
            return ToolCall(tool, arguments, request, rule, "", client, allowance=allowance)
        values = arguments.model_dump(mode="json", exclude={"wait_seconds"})
        digest, digests = arguments_digest(self._digest_key, values), each_digest(self._digest_key, values)
        asked_by, protective = elicitation.client_name(client), tool.protective(arguments)
        request = CallRequest(
            tool.name, action_class, user_id, digest, asked_by, protective, tool.locks(arguments), tool.makes
        )
        answer, dialog = None, elicitation.dialog_of(client)
        if params is not None and params.request_state is not None:
            approval_id, answer = params.request_state, elicitation.read_answer(params)
        seconds = parsed.approval.wait_seconds or 0
        return ToolCall(
            tool,
            arguments,
            request,
            rule,
            uuid.uuid4().hex,
            client,
            dialog,
            allowance,
            approval_id,
            answer,
            seconds,
            digests,
        )

    def read_person(self, tool: Tool, user_id: str, values: Mapping[str, Any]) -> ToolCall:
        """Return the call that a person makes at the desk.

        Raises:
            ToolError: `input.invalid`.
        """
        pinned = self._registry.principal.pinned
        arguments = validate(tool, {**values, **({} if pinned is not None else {"user_id": user_id})}, pinned)
        kept = arguments.model_dump(mode="json", exclude={"wait_seconds"})
        digest, digests = arguments_digest(self._digest_key, kept), each_digest(self._digest_key, kept)
        action_class = tool.classify(arguments)
        request = CallRequest(tool.name, action_class, user_id, digest)
        rule = self._registry.policy.rule(action_class, tool.name)
        return ToolCall(tool, arguments, request, rule, uuid.uuid4().hex, digests=digests)

    def read_form(self, tool: Tool, approval: Approval, values: Mapping[str, Any]) -> ToolCall:
        """Return the call that an approval waits for, with the values from its form.

        Raises:
            ToolError: `input.invalid`.
        """
        # A pinned server takes the user from its settings, as it did when the approval was created.
        pinned = self._registry.principal.pinned
        user = {} if pinned is not None else {"user_id": approval.user_id}
        arguments = validate(tool, {**values, **user}, pinned)
        action_class = ActionClass(approval.action_class)
        user_id = getattr(arguments, "user_id", "")
        request = CallRequest(tool.name, action_class, user_id, approval.digest, approval.asked_by)
        rule = self._registry.policy.rule(action_class, tool.name)
        return ToolCall(tool, arguments, request, rule, approval.idempotency_key, approval_id=approval.id)


def unvalidated_request(tool: Tool) -> CallRequest:
    """Return what is known of a call before its arguments are valid, for the audit log."""
    return CallRequest(tool.name, tool.action_classes[0], "", "")


async def no_progress(fraction: float, message: str) -> None:
    """Report progress to nobody."""

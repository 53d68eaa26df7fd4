"""Get a person's approval before a call runs: in the client's dialog, by approval id, or on the call's own page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import mcp_types as types

from machines_mcp.permissions.action_class import PLAIN, ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import Detail
from machines_mcp.permissions.authorizer import Authorization, Authorizer
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.policy import Rule
from machines_mcp.permissions.protective import LOCKS
from machines_mcp.protocol import elicitation
from machines_mcp.protocol.approval_errors import approval_required, as_tool_error, limit_exceeded
from machines_mcp.protocol.decision_wait import wait_for_decision, while_waiting
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.execution import ToolRunner
from machines_mcp.protocol.responses import ResponseBuilder
from machines_mcp.protocol.tool_call import ToolCall

if TYPE_CHECKING:
    from machines_mcp.protocol.reconciliation import Reconciler


# The desk's pages for approvals that only one page can decide. The desk starts the vault's page on request.
_PAGES = {"form": "kyc", "page": "decisions"}
_NO_PAGE = "The page for this can't be shown: no port is free on this machine. Nothing was sent; tell the operator."
_MANY_LOCKS = Detail("Asked because", "the agent has locked as many cards in the last hour as it may", LOCKS)
MAX_DIALOG = 8_000
"""The most characters that a client's dialog is given. A person reads a longer text at the desk or at a terminal."""


@dataclass(frozen=True, slots=True)
class ApprovalFlow:
    """Runs the approval flow. `desk` starts the desk and returns the address of a page, or None if it can't run.

    `page_ended` waits, for a bounded time, until an approval's own page has stored its outcome.
    """

    authorizer: Authorizer
    runner: ToolRunner
    reconciler: Reconciler
    responses: ResponseBuilder
    desk: Callable[[str], Awaitable[str | None]]
    page_ended: Callable[[str], Awaitable[None]]

    async def authorize(self, call: ToolCall) -> Authorization | types.InputRequiredResult:
        """Return the call's authorization, or an elicitation request for the client to show.

        Raises:
            ToolError: The call would fail anyway. It is recorded in the audit log.
        """
        try:
            if call.approval_id is None:
                return await self._requested(call)
            found = await self._resumed(call, call.approval_id)
            if call.wait_seconds and call.answer is None and found.verdict == "waiting" and found.approval is not None:
                await wait_for_decision(call, found.approval.id, self.authorizer)
                found = await self._resumed(call, call.approval_id)
            if call.answer in (None, "nothing") or found.verdict != "waiting" or found.approval is None:
                return found
            return await self.authorizer.decide(found.approval, yes=call.answer == "yes", asked=False)
        except Exception as error:
            self.authorizer.record(call.request, as_tool_error(error).code.value)
            raise

    async def runs_at_once(self, call: ToolCall) -> bool:
        """Return whether a call needs no approval. A write is admitted, and in the audit before it is sent.

        Raises:
            ToolError: A limit forbids it.
        """
        if call.rule is not Rule.ALLOW or call.request.action_class not in PLAIN:
            return False
        if (
            call.request.locks
            and call.approval_id
            and await self.authorizer.asked_about(call.request, call.approval_id)
        ):
            return False
        if call.request.action_class is ActionClass.READ:
            return True
        try:
            await self.authorizer.admit(call.request)
        except LimitExceeded as exceeded:
            if exceeded.code == LOCKS:
                # A lock protects, so a person may allow it.
                return False
            raise limit_exceeded(exceeded) from None
        return True

    async def still_waits(self, approval_id: str, asking: Callable[[], Awaitable[None]]) -> bool:
        """Run `asking` while the approval waits for a decision, and return whether it still does."""
        await while_waiting(approval_id, self.authorizer, asking, None)
        return await self.authorizer.waiting(approval_id) is not None

    async def required(self, call: ToolCall, approval: Approval) -> ToolError:
        """Return `approval.required`, with where the person decides. Any address works until the approval expires.

        Raises:
            ToolError: Only a page of its own can decide this, and no desk can run.
        """
        decidable, only = await self.authorizer.can_be_approved(), approval.details.only
        address = await self.desk(f"{_PAGES[only]}/{approval.id}" if only else "") if decidable else None
        if only and decidable and address is None:
            raise ToolError(Code.STATE_UNAVAILABLE, message=_NO_PAGE)
        page, desk = (address, None) if only else (None, address)
        waited = call.approval_id is not None and call.wait_seconds > 0
        return approval_required(approval, page=page, desk=desk, decidable=decidable, waited=waited)

    async def _requested(self, call: ToolCall) -> Authorization | types.InputRequiredResult:
        """Request an approval, in the client's dialog if that can decide it."""
        details = await self.runner.approval_details(call)
        if call.request.locks and self.authorizer.rule(call.request.action_class, call.tool.name) is Rule.ALLOW:
            details = replace(details, context=(*details.context, _MANY_LOCKS))
        found = await self.authorizer.request(call.request, details, call.rule)
        client, approval = call.client, found.approval
        if found.verdict != "waiting" or approval is None or client is None or call.dialog is None:
            return found
        if not await self.authorizer.dialog_can_approve(approval):
            return found
        # This call brought any identity data itself, so its client may show it.
        question = approval.dialog(details.identity)
        if len(question) > MAX_DIALOG:
            return found
        if approval.details.destination is not None:
            # The person must see the destination of the money in full.
            call.allowance.allow([question])
        if call.dialog == "result":
            return elicitation.question_result(question, approval.id)
        answer: elicitation.DialogAnswer = await while_waiting(
            approval.id, self.authorizer, lambda: elicitation.ask(client, question), "nothing"
        )
        if answer == "nothing":
            return await self.authorizer.reevaluate(approval)
        return await self.authorizer.decide(approval, yes=answer == "yes")

    async def _resumed(self, call: ToolCall, approval_id: str) -> Authorization:
        """Continue an approval: wait for its own page, and reconcile a call that was interrupted."""
        found = await self.authorizer.resume(call.request, approval_id)
        if found.verdict == "running_on_page":
            # The page finishes within seconds, so waiting for it beats reporting an unknown outcome.
            await self.page_ended(approval_id)
            found = await self.authorizer.resume(call.request, approval_id)
        if found.verdict == "running_on_page":
            return Authorization("running", found.approval)
        if found.approval is not None and self._can_be_reconciled(found):
            return await self.reconciler.reconcile(found.approval) or await self.authorizer.reevaluate(found.approval)
        return found

    def _can_be_reconciled(self, found: Authorization) -> bool:
        """Whether the outcome can be found out now. At the start, this server may already be doing so."""
        if found.verdict == "running" and found.approval is not None:
            return self.reconciler.is_reconciling(found.approval)
        return found.verdict == "interrupted"

"""Run a tool: map its errors, store its outcome, and shield approved calls from cancellation."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import anyio

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.permissions.authorizer import Authorizer
from machines_mcp.permissions.executions import EXECUTION_SECONDS
from machines_mcp.protocol.approval_errors import again, as_tool_error, not_executed, outcome_unknown
from machines_mcp.protocol.argument_details import argument_details
from machines_mcp.protocol.errors import NOT_BEGUN, Code, ToolError
from machines_mcp.protocol.repeatable_calls import compared_arguments
from machines_mcp.protocol.responses import STATUS, ToolRun, tool_run
from machines_mcp.protocol.tool import NeedsPerson, Output, Reconciliation, Tool, ToolContext
from machines_mcp.protocol.tool_call import ToolCall, no_progress
from machines_mcp.protocol.unknown_outcome import unknown_once_sent
from machines_mcp.protocol.withheld import withheld_outcome
from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.freeze import Frozen
from machines_mcp.storage.journal import CallContext, JournalEntry
from machines_mcp.storage.known_users import KnownUsers

logger = logging.getLogger(__name__)
T = TypeVar("T")

NO_RECONCILE = "This version can't find out whether it happened."
# Nothing was changed, so the person can fix the form or send it again.
_CORRECTABLE = NOT_BEGUN | {Code.INPUT_INVALID, Code.PARTNER_REJECTED}


class ToolRunner:
    """Runs the functions of tools, with the services they need.

    `explain` maps API errors. `output_filter` masks outcomes and finds secrets in them, before they are stored.
    `users` learns the user of each call that succeeds.
    """

    def __init__(
        self,
        authorizer: Authorizer,
        services: Any,
        explain: Callable[[Exception, Tool], ToolError | None],
        output_filter: OutputFilter,
        users: KnownUsers,
    ) -> None:
        self._authorizer = authorizer
        self._services = services
        self._explain = explain
        self._output_filter = output_filter
        self.users = users

    async def run(self, call: ToolCall, sent: list[str]) -> ToolRun:
        """Run a call that needs no approval, and add the ids of its journal entries to `sent`.

        Raises:
            ToolError: An error from the catalogue.
        """
        return await self._run(call, self._context(call, None, sent))

    async def execute(self, call: ToolCall, approval: Approval) -> ToolRun:
        """Run an approved call, shielded: a cancellation must not leave its outcome half recorded.

        Raises:
            ToolError: An error from the catalogue. It is the call's outcome, unless that is unresolved.
            StoreUnavailable: The state folder can't be used, so no request was sent to Machines.
        """
        context = self._context(call, approval, [])
        with anyio.CancelScope(shield=True):
            try:
                with anyio.fail_after(EXECUTION_SECONDS):
                    await self._require_same(call, approval)
                    ran = await self._run(call, context)
            except ToolError as error:
                raise await self._after_error(approval, error) from None
            except BaseException as error:
                # The row stays `executing` until the call is reconciled.
                await self._authorizer.release(approval)
                sent_nothing = (
                    isinstance(error, StoreUnavailable)
                    and call.tool.reconcile is not None
                    and not context.logged_as.begun
                )
                if sent_nothing or not isinstance(error, Exception):
                    raise
                logger.error("an approved call failed unexpectedly: %s", type(error).__name__)
                raise outcome_unknown(approval, see=[STATUS]) from None
            await self.store_outcome(approval, ran)
        return ran

    async def approval_details(self, call: ToolCall) -> ApprovalDetails:
        """Return what the person is asked, with every argument, masked.

        Raises:
            ToolError: The call would fail anyway, or the details contain a secret.
        """
        tool, details = call.tool, ApprovalDetails(question=f"Allow this call: {call.tool.title}?")
        if tool.approval_details is not None:
            details = await self._mapped(tool, tool.approval_details(self._context(call, None, []), call.arguments))
        details = replace(details, items=(*details.items, *argument_details(call.arguments, tool.described))).masked()
        if any(self._output_filter.contains_secret(str(text)) for text in (details.as_json(), *details.identity)):
            raise ToolError(Code.OUTPUT_BLOCKED)
        return replace(details, protective=call.request.protective, **compared_arguments(call))

    async def open_page(self, call: ToolCall, approval: Approval) -> str | None:
        """Start the approval's own page if needed and return its address; None if it has none.

        Raises:
            ToolError: The page can't be shown.
        """
        page = call.tool.approval_page
        if page is None:
            return None
        return await self._mapped(call.tool, page(self._context(call, approval, []), call.arguments, approval))

    async def reconcile(
        self, tool: Tool, approval: Approval, entries: Sequence[JournalEntry], *, read_only: bool
    ) -> Reconciliation:
        """Let the tool determine the outcome of an interrupted call. `read_only`: it must not send it again.

        Raises:
            ToolError: That can't be found out now.
            ReadOnly: It would have to be sent again.
        """
        if tool.reconcile is None:
            return NeedsPerson(NO_RECONCILE)
        user_id = approval.user_id
        protective = approval.details.protective
        logged_as = CallContext(approval.id, tool.name, user_id, read_only=read_only, protective=protective)
        context = ToolContext(user_id, approval.idempotency_key, self._services, no_progress, logged_as)
        return await self._mapped(tool, tool.reconcile(context, approval, entries))

    async def _require_same(self, call: ToolCall, approval: Approval) -> None:
        """Refuse the call if Machines no longer shows what the person saw."""
        if approval.details.seen is not None and not approval.details.shown_by(await self.approval_details(call)):
            raise not_executed(approval, "What it was about has changed since the person was asked.")

    async def _run(self, call: ToolCall, context: ToolContext[Any]) -> ToolRun:
        with unknown_once_sent(context.logged_as.begun):
            output = await self._mapped(call.tool, call.tool.run(context, call.arguments))
        if context.user_id:
            await self.users.succeeded(context.user_id, changed=call.request.action_class is not ActionClass.READ)
        return self.tool_run(output, context.user_id)

    def tool_run(self, output: Output, user_id: str) -> ToolRun:
        """Split the output of a user's call, with texts from outside masked."""
        return tool_run(output, self._output_filter, user_id)

    def _context(self, call: ToolCall, approval: Approval | None, sent: list[str]) -> ToolContext[Any]:
        """Return what the tool's functions get. With an approval, its idempotency key and id."""
        user_id, approval_id = call.request.user_id, None if approval is None else approval.id
        return ToolContext(
            user_id=user_id,
            idempotency_key=call.idempotency_key if approval is None else approval.idempotency_key,
            services=self._services,
            progress=call.report,
            logged_as=CallContext(approval_id, call.tool.name, user_id, protective=call.request.protective, begun=sent),
        )

    async def _mapped(self, tool: Tool, work: Awaitable[T]) -> T:
        """Return the result of `work`, mapping its errors to the catalogue."""
        try:
            return await work
        except (ToolError, StoreUnavailable):
            raise
        except Frozen as frozen:
            raise as_tool_error(frozen) from None
        except Exception as error:
            tool_error = self._explain(error, tool)
            if tool_error is None:
                raise
        raise tool_error

    async def store_outcome(self, approval: Approval, ran: ToolRun) -> None:
        """Store the outcome of an approved call, for repeated calls."""
        # What the output filter would mask must not be stored in the state folder either.
        await self._store(approval, ran.outcome, ran.verbatim, "ok", ok=True)

    async def store_error(self, approval: Approval, tool_error: ToolError) -> None:
        """Store an error as the outcome of an approved call."""
        await self._store(approval, tool_error.payload(), None, tool_error.code.value, ok=False)

    async def _after_error(self, approval: Approval, tool_error: ToolError) -> ToolError:
        if tool_error.code is Code.OUTCOME_UNKNOWN:
            await self._authorizer.release(approval)
            seconds = tool_error.details.get("retry_after_seconds")
            if isinstance(seconds, int):
                # The tool says what is unfinished and when to retry.
                return outcome_unknown(approval, seconds, why=tool_error.message)
            return outcome_unknown(approval, see=tool_error.next_steps)
        if approval.details.only == "form" and tool_error.code in _CORRECTABLE:
            await self._reopen(approval)
            return tool_error
        if tool_error.code in NOT_BEGUN:
            return await self._return_grant(approval, tool_error)
        await self.store_error(approval, tool_error)
        return tool_error

    async def _reopen(self, approval: Approval) -> None:
        """Reopen the form: the person still has it open, with the values they typed."""
        try:
            await self._authorizer.reopen(approval)
        except StoreUnavailable:
            await self._authorizer.release(approval)
            logger.error("an unsent form could not be reopened")

    async def _return_grant(self, approval: Approval, tool_error: ToolError) -> ToolError:
        if approval.details.only is not None:
            # Its page has closed, and no other channel can use the approval.
            await self.store_error(approval, tool_error)
            return tool_error
        try:
            await self._authorizer.return_grant(approval)
        except StoreUnavailable:
            await self._authorizer.release(approval)
            logger.error("an unused approval could not be given back")
            return tool_error
        if not tool_error.retryable:
            return tool_error
        why = "Repeat the same call in a moment; within 5 minutes of the approval it needs no new one."
        return ToolError(
            tool_error.code,
            message=tool_error.message,
            details=tool_error.details | {"approval_id": approval.id},
            next_steps=[again(approval, why), *tool_error.next_steps],
        )

    async def _store(
        self, approval: Approval, outcome: dict[str, Any], exempt: Collection[str] | None, code: str, *, ok: bool
    ) -> None:
        kept = self._output_filter.storable(outcome, exempt)
        if kept is None:
            # The output filter withholds this response too, and a repeated call returns what it has instead.
            error = withheld_outcome(approval, ok=ok)
            kept, ok, code = json.dumps(error.payload()), False, error.code.value
        try:
            await self._authorizer.finish(approval, kept, ok=ok, code=code)
        except StoreUnavailable:
            # The caller still gets the outcome. A repeated call finds the row `executing` and reconciles it.
            await self._authorizer.release(approval)
            logger.error("the outcome of an approved call could not be stored")

"""Calls that a person makes at the desk. They run like approved calls: with limits, journal, audit, reconciliation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.factory import Guard
from machines_mcp.permissions.policy import Rule
from machines_mcp.protocol.approval_errors import as_tool_error, limit_exceeded, policy_denied
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.execution import ToolRunner
from machines_mcp.protocol.reconciliation import Reconciler
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.tool_call import CallReader, ToolCall
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.freeze import Frozen


class PersonCalls:
    """Prepares and runs such calls."""

    def __init__(
        self, guard: Guard, registry: Registry, reader: CallReader, runner: ToolRunner, reconciler: Reconciler
    ) -> None:
        self._guard = guard
        self._registry = registry
        self._reader = reader
        self._runner = runner
        self._reconciler = reconciler

    async def prepare(
        self, name: str, user_id: str, values: Mapping[str, Any], *, undoes: str
    ) -> tuple[ToolCall, ApprovalDetails]:
        """Return a call that undoes a journal entry, and what a person must see of it. Nothing is asked or sent.

        Raises:
            ToolError: The policy denies the call, or it would fail anyway.
        """
        tool = self._registry.tools.get(name)
        if tool is None:
            raise ToolError(Code.TOOL_UNKNOWN)
        call = self._reader.read_person(tool, user_id, values)
        if call.rule is Rule.DENY:
            raise policy_denied(self._registry.policy, call.request)
        try:
            details = await self._runner.approval_details(call)
        except (StoreUnavailable, Frozen) as error:
            raise as_tool_error(error) from None
        return call, replace(details, only="desk", undoes=undoes)

    async def run(self, call: ToolCall, details: ApprovalDetails) -> bool:
        """Run a call whose details a person approved at the desk, once for each journal entry that it undoes.

        Return whether it took effect. A lost response is looked up at once.

        Raises:
            ToolError: It was refused, or its outcome is still unknown.
            AlreadyUndone: Another approval undoes it.
        """
        try:
            approval = await self._guard.approvals.open_granted(call.request, details, "desk")
        except LimitExceeded as exceeded:
            raise limit_exceeded(exceeded) from None
        except (StoreUnavailable, Frozen) as error:
            raise as_tool_error(error) from None
        try:
            await self._runner.execute(call, approval)
        except StoreUnavailable as error:
            raise as_tool_error(error) from None
        except ToolError as error:
            if error.code is not Code.OUTCOME_UNKNOWN:
                raise
            return await self.settle(approval.id)
        return True

    async def settle(self, approval_id: str) -> bool:
        """Find the outcome of a call that was cut short, and return whether it took effect.

        Raises:
            ToolError: It is still unknown.
        """
        approval = await self._guard.approvals.get(approval_id)
        if approval is not None and approval.state == "executing" and not self._guard.approvals.running(approval):
            await self._reconciler.reconcile(approval)
            approval = await self._guard.approvals.get(approval_id)
        if approval is None or approval.state == "executing":
            raise ToolError(Code.OUTCOME_UNKNOWN)
        return approval.state == "done"

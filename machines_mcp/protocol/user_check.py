"""Refuse calls for users who may not exist at Machines: a session makes its user, so a typo would make one."""

from __future__ import annotations

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import Rule
from machines_mcp.protocol.errors import Code, NextStep, ToolError
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.tool_call import ToolCall
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.known_users import KnownUsers

RESOLVE = "resolve_user"


class UserCheck:
    """Checks the users of calls."""

    def __init__(self, registry: Registry, known: KnownUsers) -> None:
        self._registry = registry
        self._known = known
        policy, makers = registry.policy, [tool.name for tool in registry.tools.values() if tool.makes_user]
        rules = [policy.rule(ActionClass.WRITE, name) for name in makers] or [policy.rule(ActionClass.WRITE)]
        self._model_may_make_users = Rule.ALLOW in rules

    async def require(self, call: ToolCall) -> None:
        """Refuse a call that would open a session for a user who may not exist, without leave to make the user.

        Raises:
            ToolError: `user.unknown`.
            StoreUnavailable: The state folder can't be used.
        """
        user_id = call.request.user_id
        if user_id and not self._may_make_user(call) and not await self._known.knows(user_id):
            raise self._unknown(user_id)

    def _may_make_user(self, call: ToolCall) -> bool:
        action_class, tool = call.request.action_class, call.tool
        if action_class is ActionClass.READ:
            return False
        if self._model_may_make_users or tool.makes_user or call.rule is Rule.ALLOW:
            return True
        # What the person is asked takes reads, which come before their approval. It takes none to submit identity data.
        return tool.approval_details is None or action_class is ActionClass.IDENTITY

    def _unknown(self, user_id: str) -> ToolError:
        registry = self._registry
        if RESOLVE not in registry.tools or registry.policy.rule(ActionClass.WRITE, RESOLVE) is Rule.DENY:
            message = (
                "This server has not resolved a user with this id, and may not do so. Check the id, or ask the operator"
                " to name this user in MACHINES_USER_ID or in the policy's users."
            )
            return ToolError(Code.USER_UNKNOWN, message=message, retryable=False)
        step = NextStep(
            RESOLVE, "Create or find the user at Machines, if the id is right.", {"user_id": Verbatim(user_id)}
        )
        return ToolError(Code.USER_UNKNOWN, next_steps=[step])

"""Refuse calls for users who may not exist at Machines: a session makes its user, so a typo would make one."""

from __future__ import annotations

from typing import Any

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import Rule
from machines_mcp.protocol.errors import Code, NextStep, ToolError
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.tool_call import ToolCall
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.known_users import KnownUsers

RESOLVE = "resolve_user"


class UserCheck:
    """Checks the users of calls."""

    def __init__(self, registry: Registry, known: KnownUsers) -> None:
        self._registry = registry
        self._known = known

    async def require(self, call: ToolCall) -> None:
        """Refuse a call for a user who may not exist, if it isn't for making users.

        Raises:
            ToolError: `user.unknown`.
            StoreUnavailable: The state folder can't be used.
        """
        user_id = call.request.user_id
        if user_id and not call.tool.makes_user(vars(call.arguments)) and not await self._known.knows(user_id):
            raise self._unknown(user_id)

    async def reachable(self, payload: dict[str, Any], call: ToolCall | None) -> dict[str, Any]:
        """Return the error with one step to resolve the user in place of the steps that `require` would refuse."""
        steps: list[dict[str, Any]] = payload["next_steps"]
        refused = [step for step in steps if call is not None and self._refuses(step, call)]
        if call is None or not refused:
            return payload
        try:
            known = await self._known.knows(call.request.user_id)
        except StoreUnavailable:
            known = True  # every step fails now
        if known:
            return payload
        first = refused[0]
        step = _resolving(call.request.user_id, f" Then {first['tool']}: {first['why']}")
        kept = [step.payload() if each is first else each for each in steps if each is first or each not in refused]
        return payload | {"next_steps": kept}

    def _refuses(self, step: dict[str, Any], call: ToolCall) -> bool:
        """Whether a step needs a known user. The call itself has passed already."""
        tool = self._registry.tools.get(step["tool"])
        if tool is None or not tool.per_user or not call.request.user_id:
            return False
        return tool is not call.tool and not tool.makes_user(step["arguments"])

    def _unknown(self, user_id: str) -> ToolError:
        registry = self._registry
        if RESOLVE not in registry.tools or registry.policy.rule(ActionClass.WRITE, RESOLVE) is Rule.DENY:
            message = (
                "This server has not resolved a user with this id, and may not do so. Check the id, or ask the operator"
                " to name this user in MACHINES_USER_ID or in the policy's users."
            )
            return ToolError(Code.USER_UNKNOWN, message=message, retryable=False)
        return ToolError(Code.USER_UNKNOWN, next_steps=[_resolving(user_id)])


def _resolving(user_id: str, then: str = "") -> NextStep:
    # A pinned server's user is always known, so the tool takes `user_id`.
    why = f"Create or find the user at Machines, if the id is right.{then}"
    return NextStep(RESOLVE, why, {"user_id": Verbatim(user_id)})

"""The tools that the operator's settings and policy allow, in one fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import mcp_types as types

from machines_mcp.permissions.action_class import PLAIN
from machines_mcp.permissions.policy import Policy, Rule
from machines_mcp.protocol.schema import input_schema, output_schema
from machines_mcp.protocol.tool import Tool
from machines_mcp.storage.principal import Principal

# Claude Code reads these: it asks before each call, and loads the tool without a search for it.
_ASK = "anthropic/requiresUserInteraction"
_ALWAYS_LOAD = "anthropic/alwaysLoad"


class Registry:
    """Looks tools up and describes them to the client."""

    def __init__(
        self,
        tools: Iterable[Tool],
        policy: Policy,
        principal: Principal,
        *,
        toolsets: frozenset[str],
        ask_in_client: bool = False,
    ) -> None:
        self.tools = {tool.name: tool for tool in tools if tool.toolset in toolsets | {"always"}}
        self.policy = policy
        self.principal = principal
        self._ask_in_client = ask_in_client
        self._described: dict[str, types.Tool] = {}

    def may_ask(self, tool: Tool) -> bool:
        """Whether the tool takes an `approval_id`: some of its calls need approval, or are allowed but must not execute
        twice."""
        rules = [self.policy.rule(each, tool.name) for each in tool.action_classes]
        # Of a tool that locks cards, allowed calls ask above their rate.
        return self._acts(tool) or Rule.ASK in rules or (tool.may_lock and Rule.ALLOW in rules)

    def _acts(self, tool: Tool) -> bool:
        """Whether the policy allows a call of the tool that does more than read or write."""
        classes = [each for each in tool.action_classes if each not in PLAIN]
        return any(self.policy.rule(each, tool.name) is not Rule.DENY for each in classes)

    def is_usable(self, tool: Tool) -> bool:
        """Whether the policy allows any call of the tool, with or without approval."""
        return any(self.policy.rule(action_class, tool.name) is not Rule.DENY for action_class in tool.action_classes)

    @cached_property
    def approvable_names(self) -> frozenset[str]:
        """The names of the tools that take an `approval_id`."""
        return frozenset(name for name, tool in self.tools.items() if self.may_ask(tool))

    @cached_property
    def mutating_names(self) -> frozenset[str]:
        """The names of the tools that can change something."""
        return frozenset(name for name, tool in self.tools.items() if not tool.read_only)

    @cached_property
    def forbidden(self) -> Mapping[str, frozenset[str]]:
        """The arguments of each tool for which the policy allows no value."""
        return {
            name: frozenset(argument for argument, values in tool.allowed_values(self.policy).items() if not values)
            for name, tool in self.tools.items()
        }

    @cached_property
    def usable_names(self) -> frozenset[str]:
        """The names of the tools that `tools/list` shows."""
        return frozenset(name for name, tool in self.tools.items() if self.is_usable(tool))

    @cached_property
    def listing(self) -> list[types.Tool]:
        """The tools as `tools/list` shows them, without those that the policy denies."""
        return [self.described(tool) for tool in self.tools.values() if self.is_usable(tool)]

    def described(self, tool: Tool) -> types.Tool:
        """Return a tool as `tools/list` shows it. Its schemas are built once, in about 2 ms."""
        if tool.name not in self._described:
            self._described[tool.name] = self._describe(tool)
        return self._described[tool.name]

    def _describe(self, tool: Tool) -> types.Tool:
        hints = {_ALWAYS_LOAD: True} if tool.always_load else {}
        hints |= {_ASK: True} if self._ask_in_client and self._acts(tool) else {}
        described = types.Tool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            input_schema=input_schema(
                tool,
                pinned=self.principal.pinned is not None,
                asks=tool.name in self.approvable_names,
                choices=tool.allowed_values(self.policy),
            ),
            output_schema=output_schema(tool),
            annotations=types.ToolAnnotations(
                read_only_hint=tool.read_only,
                destructive_hint=not PLAIN.issuperset(tool.action_classes),
                idempotent_hint=tool.idempotent,
                open_world_hint=tool.open_world,
            ),
        )
        # An empty object would be sent, too.
        return described.model_copy(update={"meta": hints}) if hints else described

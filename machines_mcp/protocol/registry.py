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


class Registry:
    """Looks tools up and describes them to the client."""

    def __init__(
        self,
        tools: Iterable[Tool],
        policy: Policy,
        principal: Principal,
        *,
        toolsets: frozenset[str],
    ) -> None:
        self.tools = {tool.name: tool for tool in tools if tool.toolset in toolsets | {"always"}}
        self.policy = policy
        self.principal = principal
        self._described: dict[str, types.Tool] = {}

    def may_ask(self, tool: Tool) -> bool:
        """Whether the tool takes an `approval_id`: some of its calls need approval, or are allowed but must not execute
        twice."""
        rules = {action_class: self.policy.rule(action_class, tool.name) for action_class in tool.action_classes}
        acts = any(rule is not Rule.DENY for action_class, rule in rules.items() if action_class not in PLAIN)
        return acts or Rule.ASK in rules.values()

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
        return types.Tool(
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

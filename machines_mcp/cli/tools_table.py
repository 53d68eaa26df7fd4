"""List the tools for the operator: action class, rule and token cost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.budgets import Budget
from machines_mcp.permissions.passphrase import APPROVALS_DISABLED
from machines_mcp.permissions.policy import Policy
from machines_mcp.permissions.policy_explanation import explain_rule, group_rules
from machines_mcp.redaction.display import moment
from machines_mcp.server.app import App
from machines_mcp.server.settings import Settings
from machines_mcp.server.state_folder import open_guard

BYTES_PER_TOKEN = 4
_LEGEND = (
    "step: the step of the Partner API guide. tokens: what the tool's definition takes of the model's context, about"
    f" {BYTES_PER_TOKEN} bytes each. ask: requires approval."
)


def tool_rows(settings: Settings) -> list[dict[str, Any]]:
    """Return a row per tool: name, step numbers, classes with their rule and reason, tokens (JSON bytes / 4)."""
    registry = App(settings).load().registry
    shown = {tool.name: tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in registry.listing}
    rows = []
    for tool in registry.tools.values():
        entry = shown.get(tool.name)
        rows.append(
            {
                "tool": tool.name,
                "title": tool.title,
                "steps": list(tool.steps),
                "rules": {
                    action_class.value: registry.policy.rule(action_class, tool.name).value
                    for action_class in tool.action_classes
                },
                "why": {
                    action_class.value: explain_rule(registry.policy, action_class, tool.name)
                    for action_class in tool.action_classes
                },
                "listed": entry is not None,
                "tokens": _tokens(entry),
                "model_tokens": _tokens(entry and {k: entry.get(k) for k in ("name", "description", "inputSchema")}),
            }
        )
    return rows


async def policy_summary(settings: Settings, rows: list[dict[str, Any]]) -> list[str]:
    """Return what the policy does with the tools in `rows`, the passphrase status and the remaining limits, as lines.

    Raises:
        PolicyError: The policy is invalid.
        StoreUnavailable: The state folder can't be used.
    """
    async with open_guard(settings) as guard:
        policy, left = guard.policy, (await guard.pending.snapshot()).budgets
        verifier = await guard.passphrase.verifier()
    calls = [(row["tool"], ActionClass(action_class)) for row in rows for action_class in row["rules"]]
    lines = [*format_groups(policy, calls), "", f"policy: {policy.source}, digest {policy.digest[:12]}"]
    if policy.needs_passphrase or verifier is not None:
        lines.append(f"passphrase: set on {moment(verifier.set_at)[:-3]} UTC" if verifier else APPROVALS_DISABLED)
    return lines + [_format_budget(budget) for budget in left]


def _format_budget(budget: Budget) -> str:
    left = "" if budget.left is None else f", {budget.left} left"
    return f"{budget.limit}: {budget.most}{left}"


def _tokens(value: Any) -> int:
    if value is None:
        return 0
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def format_table(rows: list[dict[str, Any]]) -> str:
    """Format the rows as aligned text, with a legend."""
    lines = [f"{'tool':<24}{'step':<12}{'class: rule':<36}{'tokens':>7}"]
    for row in rows:
        rules = ", ".join(f"{action_class}: {rule}" for action_class, rule in row["rules"].items())
        steps = ", ".join(map(str, row["steps"]))
        lines.append(f"{row['tool']:<24}{steps:<12}{rules:<36}{row['tokens']:>7}")
    total = f"{'all':<72}{sum(row['tokens'] for row in rows):>7}"
    return "\n".join([*lines, total, "", _LEGEND])


def format_groups(policy: Policy, calls: Iterable[tuple[str, ActionClass]]) -> list[str]:
    """Return what the policy does with these calls, a line per rule and a line with the tools it applies to."""
    lines = []
    for summary, members in group_rules(policy, calls):
        lines += [f"{summary[0].upper()}{summary[1:]}:", f"  {', '.join(members)}"]
    return [*lines, "With --json, each has the key of the policy that decides it."]

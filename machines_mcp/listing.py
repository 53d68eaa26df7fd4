"""The tools as the operator sees them: class, rule, cost."""

from __future__ import annotations

import json
from typing import Any

from machines_mcp.server import App
from machines_mcp.settings import Settings

BYTES_PER_TOKEN = 4


def listing(settings: Settings) -> list[dict[str, Any]]:
    """A row per tool: name, step numbers, classes with the policy's rule, and tokens (bytes of JSON by 4)."""
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
                "rules": {effect.value: registry.policy.rule(effect, tool.name).value for effect in tool.effects},
                "listed": entry is not None,
                "tokens": _tokens(entry),
                "model_tokens": _tokens(entry and {k: entry.get(k) for k in ("name", "description", "inputSchema")}),
            }
        )
    return rows


def _tokens(value: Any) -> int:
    if value is None:
        return 0
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def listing_table(rows: list[dict[str, Any]]) -> str:
    """The rows as plain aligned text."""
    lines = [f"{'tool':<24}{'step':<10}{'class: rule':<36}{'tokens':>7}"]
    for row in rows:
        rules = ", ".join(f"{effect}: {rule}" for effect, rule in row["rules"].items())
        steps = ", ".join(map(str, row["steps"]))
        lines.append(f"{row['tool']:<24}{steps:<10}{rules:<36}{row['tokens']:>7}")
    return "\n".join([*lines, f"{'all':<70}{sum(row['tokens'] for row in rows):>7}"])


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """The rows as the README shows them."""
    lines = ["| tool | step | does | class |", "| --- | --- | --- | --- |"]
    for row in rows:
        steps = ", ".join(map(str, row["steps"]))
        lines.append(f"| `{row['tool']}` | {steps} | {row['title']} | {', '.join(row['rules'])} |")
    return "\n".join(lines)

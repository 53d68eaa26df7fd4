"""Update the generated blocks of the pages (`make docs`). Tests fail if they are out of date."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import architecture_page
import benchmarks_page
import client_blocks
import clients_page
import policy_page
import reliability_page

from machines_mcp.cli.tools_table import tool_rows
from machines_mcp.server.settings_reader import read_settings

ROOT = Path(__file__).parents[1]
_TOOLS = re.compile(r"(<!-- tools: made by `make docs` -->\n).*?(<!-- /tools -->)", re.DOTALL)


def readme() -> str:
    """Return the README with current tables of tools and client configs."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        table = _markdown_table(tool_rows(read_settings({"MACHINES_STATE_DIR": folder})))
    return client_blocks.with_blocks(_TOOLS.sub(lambda found: f"{found[1]}{table}\n{found[2]}", text))


def _markdown_table(rows: list[dict[str, Any]]) -> str:
    """Format the rows as the README's table."""
    lines = ["| tool | step | does | class |", "| --- | --- | --- | --- |"]
    for row in rows:
        steps = ", ".join(map(str, row["steps"]))
        lines.append(f"| `{row['tool']}` | {steps} | {row['title']} | {', '.join(row['rules'])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    (ROOT / "README.md").write_text(readme(), encoding="utf-8")
    architecture_page.PAGE.write_text(architecture_page.page(), encoding="utf-8")
    policy_page.PAGE.write_text(policy_page.page(), encoding="utf-8")
    benchmarks_page.PAGE.write_text(benchmarks_page.page(), encoding="utf-8")
    reliability_page.PAGE.write_text(reliability_page.page(), encoding="utf-8")
    clients_page.PAGE.write_text(clients_page.page(), encoding="utf-8")

"""Update the generated blocks of the pages (`make docs`). Tests fail if they are out of date."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import architecture_page
import benchmarks_page
import client_blocks
import clients_page
import evals_page
import policy_page
import reliability_page
import reviewers_page

from machines_mcp.protocol.approval_arguments import NAMES
from machines_mcp.server.app import App
from machines_mcp.server.settings_reader import read_settings

ROOT = Path(__file__).parents[1]
_TOOLS = re.compile(r"(<!-- tools: made by `make docs` -->\n).*?(<!-- /tools -->)", re.DOTALL)
_ASIDE = re.compile(r" ?\([^)]*\)")
# The README explains these once.
_COMMON = frozenset({"user_id", *NAMES})
_MANY = 8


def readme() -> str:
    """Return the README with the current table of tools."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return _TOOLS.sub(lambda found: f"{found[1]}{_tools_table()}\n{found[2]}", text)


def _tools_table() -> str:
    with tempfile.TemporaryDirectory() as folder:
        registry = App(read_settings({"MACHINES_STATE_DIR": folder})).load().registry
    lines = ["| tool | does | arguments | class |", "| --- | --- | --- | --- |"]
    for listed in registry.listing:
        classes = ", ".join(action_class.value for action_class in registry.tools[listed.name].action_classes)
        given = _arguments(listed.input_schema)
        lines.append(f"| `{listed.name}` | {purpose(listed.description or '')} | {given} | {classes} |")
    return "\n".join(lines)


def purpose(description: str) -> str:
    """Return the first sentence of a description that says what the tool does, without asides."""
    sentences = [sentence.strip().rstrip(".") for sentence in re.split(r"(?<=\.)\s+", _ASIDE.sub("", description))]
    return next(sentence for sentence in sentences if sentence.count(" ") > 1)


def _arguments(schema: dict[str, Any]) -> str:
    required: Collection[str] = schema.get("required", ())
    # The one tool that requires an approval_id has it for itself.
    given = (name for name in schema["properties"] if name not in _COMMON or (name in NAMES and name in required))
    names = [name if name in required else f"{name}?" for name in sorted(given, key=lambda name: name not in required)]
    shown = ", ".join(f"`{name}`" for name in names[: 3 if len(names) > _MANY else _MANY])
    return f"{shown} and {len(names) - 3} more" if len(names) > _MANY else shown


if __name__ == "__main__":
    (ROOT / "README.md").write_text(readme(), encoding="utf-8")
    for page in (
        architecture_page,
        policy_page,
        benchmarks_page,
        reliability_page,
        clients_page,
        evals_page,
        reviewers_page,
        client_blocks,
    ):
        page.PAGE.write_text(page.page(), encoding="utf-8")
    evals_page.PICTURE.write_text(evals_page.picture(), encoding="utf-8")

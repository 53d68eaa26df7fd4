"""Generate docs/sandbox.md from the contract's `x-rules` and the docstrings of the control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from machines_mcp.sandbox.control import CONTROLS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "sandbox.md"
_CONTRACT = ROOT / "tests" / "contract" / "partner-openapi.yaml"
# The page's words for the first tag of a source.
_TAGS = {
    "[seed]": "documented",
    "[docs": "documented",
    "[repo:": "seen in the vendor's code",
    "[rain]": "the issuer's material",
    "[inference]": "our choice",
    "GAP -> our choice": "our choice",
}
_HEAD = """# The sandbox, rule by rule

`make docs` generates this page from `x-rules` in `tests/contract/partner-openapi.yaml`. Each row names the test of its
rule. Sources: "documented" is the Partner API's documentation, "seen in the vendor's code" is its public example, "the
issuer's material" is public information about the collateral contracts. "Our choice" says nothing about the real API.
"""


def rules() -> dict[str, list[dict[str, str]]]:
    """Return the rules by chapter, each with `rule`, `x-source` and `test`."""
    document: Any = yaml.safe_load(_CONTRACT.read_text(encoding="utf-8"))
    found: dict[str, list[dict[str, str]]] = document["x-rules"]
    return found


def tag(source: str) -> str:
    """Return the page's word for a source, from its first tag.

    Raises:
        ValueError: The source has no known tag.
    """
    for mark, word in _TAGS.items():
        if source.startswith(mark):
            return word
    raise ValueError("a rule without a known tag")


def page() -> str:
    """Return the whole page."""
    parts = [_HEAD]
    for chapter, rows in rules().items():
        table = [f"| {row['rule']} | {tag(row['x-source'])} | `{row['test']}` |" for row in rows]
        parts.append("\n".join([f"## {chapter}\n", "| rule | source | test |", "| --- | --- | --- |", *table]) + "\n")
    orders = []
    for method, path, handle in CONTROLS:
        words = " ".join((handle.__doc__ or "").split()).removeprefix(f"{method} /control{path}").strip()
        what, _, about = words.partition(": ")
        body = f"`{what}`" if what else ""
        orders.append(f"| `{method} /control{path}` | {body} | {about} |")
    parts.append(
        "\n".join(["## The control\n", "| request | body | what it does |", "| --- | --- | --- |", *orders]) + "\n"
    )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

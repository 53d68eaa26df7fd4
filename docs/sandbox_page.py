"""Makes docs/sandbox.md of the contract's `x-rules` and the control's own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from machines_mcp.sandbox.control import CONTROLS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "sandbox.md"
_CONTRACT = ROOT / "tests" / "contract" / "partner-openapi.yaml"
# What the first tag of a source means to a reader.
_TAGS = {
    "[seed]": "documented",
    "[docs": "documented",
    "[repo:": "seen in the vendor's code",
    "[rain]": "the issuer's material",
    "[inference]": "our choice",
    "GAP -> our choice": "our choice",
}
_HEAD = """# The sandbox, rule by rule

Made by `make docs` from `x-rules` of `tests/contract/partner-openapi.yaml`; each row names the test that holds it.
"Documented" is what the Partner API's documentation says, "seen in the vendor's code" what its public example does,
"the issuer's material" what is public about the collateral contracts, and "our choice" is no promise of the real API.
"""


def rules() -> dict[str, list[dict[str, str]]]:
    """The rules by chapter: `rule`, `x-source`, `test`."""
    document: Any = yaml.safe_load(_CONTRACT.read_text(encoding="utf-8"))
    found: dict[str, list[dict[str, str]]] = document["x-rules"]
    return found


def tag(source: str) -> str:
    """The word for a source, by its first tag.

    Raises:
        ValueError: it has none that is known.
    """
    for mark, word in _TAGS.items():
        if source.startswith(mark):
            return word
    raise ValueError("a rule without a known tag")


def page() -> str:
    """The whole document."""
    parts = [_HEAD]
    for chapter, rows in rules().items():
        table = [f"| {row['rule']} | {tag(row['x-source'])} | `{row['test']}` |" for row in rows]
        parts.append(
            "\n".join([f"## {chapter}\n", "| rule | how well known | test |", "| --- | --- | --- |", *table]) + "\n"
        )
    orders = []
    for method, path, handle in CONTROLS:
        words = " ".join((handle.__doc__ or "").split()).removeprefix(f"{method} /control{path}").strip()
        what, _, about = words.partition(": ")
        body = f"`{what}`" if what else ""
        orders.append(f"| `{method} /control{path}` | {body} | {about} |")
    parts.append(
        "\n".join(["## The control\n", "| order | body | what it does |", "| --- | --- | --- |", *orders]) + "\n"
    )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""The messages in docs/troubleshooting.md exist in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_FIRST_CELL = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
_PLACE = re.compile(r"\{[^{}]*\}")


def _explained() -> list[str]:
    return _FIRST_CELL.findall((ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"))


def _strings() -> Iterator[str]:
    """Yield the strings of the code, with … for each placeholder."""
    yield (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in (ROOT / "machines_mcp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)  # type: ignore[misc]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield _PLACE.sub("…", node.value)


@pytest.fixture(scope="module")
def strings() -> list[str]:
    return list(_strings())


def test_the_page_explains_at_least_twenty_messages() -> None:
    assert len(_explained()) >= 20
    assert len(set(_explained())) == len(_explained())


@pytest.mark.parametrize("message", _explained())
def test_each_explained_message_exists_in_the_code(message: str, strings: list[str]) -> None:
    # … stands for a variable part or for an omitted end.
    wanted = re.compile(".*".join(re.escape(part) for part in message.split("…")), re.DOTALL)
    assert any(wanted.search(text) for text in strings)
    assert len(message.replace("…", "")) > 20

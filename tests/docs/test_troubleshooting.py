"""Each message that the README explains is one that the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_FIRST_CELL = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
_PLACE = re.compile(r"\{[^{}]*\}")


def _quoted() -> list[str]:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Troubleshooting\n")[1].split("\n## ")[0]
    return _FIRST_CELL.findall(section)


def _said() -> Iterator[str]:
    """The texts of the code, with … for what is filled in."""
    yield (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in (ROOT / "machines_mcp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)  # type: ignore[misc]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield _PLACE.sub("…", node.value)


@pytest.fixture(scope="module")
def said() -> list[str]:
    return list(_said())


def test_there_are_messages_to_look_for() -> None:
    assert len(_quoted()) >= 20
    assert len(set(_quoted())) == len(_quoted())


@pytest.mark.parametrize("message", _quoted())
def test_a_message_that_is_explained_is_one_that_is_said(message: str, said: list[str]) -> None:
    # … stands for what differs from case to case, or for a rest that is left out.
    wanted = re.compile(".*".join(re.escape(part) for part in message.split("…")), re.DOTALL)
    assert any(wanted.search(text) for text in said)
    assert len(message.replace("…", "")) > 20

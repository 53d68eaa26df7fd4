"""Keep names that were replaced out of the repository: one word for each concept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SEARCHED = (
    *("machines_mcp", "docs", "prompts", "tests", "examples", "benchmarks", "distribution", "evals"),
    *("README.md", "AGENTS.md", "CONTRIBUTING.md"),
)
# They keep what state folders hold: migrations, `stored_names`, and the state of the previous version.
SKIPPED = {"migrations", "previous_version", "test_previous_version.py", Path(__file__).name, "__pycache__"}
TEXT = {".css", ".html", ".js", ".json", ".md", ".patch", ".py", ".pyi", ".sh", ".sql", ".toml", ".txt"}

WORDS = ("intents?", "stakes", "rivals", "doubts?", "egress")
"""Old words, also as parts of an identifier such as `intent_id`."""

MODULES = (
    *("asking", "auditing", "breakage", "confinement", "descriptors", "desks", "doctor_guard", "doubts", "entrance"),
    *("errand", "governance", "intents", "journal_row", "key_store", "needles", "neighbour", "noting", "owned_file"),
    *("page_process", "passphrases", "policy_checks", "policy_file", "policy_model", "rivals", "sealed_sink"),
    *("settle", "settle_cards", "settle_withdrawals", "settling", "stakes", "ways"),
)
"""Old module names, looked for in dotted names and paths."""

NAMES = (
    *("Barred", "CaughtUp", "Demand", "Doing", "Egress", "FromText", "Intents", "Needles", "NOBODY", "OnlyLook"),
    *("Opaque", "Passage", "Rivals", "SealedError", "Settling", "Stakes", "UserCall", "Ways", "may_hold_some"),
    *("Fact", "LOOK", "Way", "head_broken", "look_alone", "standing_yes", "user_fact"),
)
"""Old classes, functions and constants."""


@cache
def texts(root: Path) -> dict[str, str]:
    """Return the searched files by path."""
    files = [
        file for name in SEARCHED for file in ((root / name).rglob("*") if (root / name).is_dir() else [root / name])
    ]
    return {
        file.relative_to(root).as_posix(): file.read_text(encoding="utf-8")
        for file in files
        if file.suffix in TEXT and not SKIPPED & set(file.parts)
    }


def found(root: Path, pattern: str) -> Iterator[str]:
    """Yield `path:line` of each match."""
    sought = re.compile(pattern)
    for path, text in texts(root).items():
        yield from (f"{path}:{text.count(chr(10), 0, match.start()) + 1}" for match in sought.finditer(text))


@pytest.mark.parametrize("word", WORDS)
def test_no_old_word_is_left(root: Path, word: str) -> None:
    assert list(found(root, rf"(?i)(?<![a-z]){word}(?![a-z])")) == []


@pytest.mark.parametrize("name", MODULES)
def test_no_old_module_is_named(root: Path, name: str) -> None:
    assert list(found(root, rf"machines_mcp[\w./]*[./]{name}\b|(?<![\w/.]){name}\.py\b")) == []


def test_the_folder_of_the_old_layout_is_not_named(root: Path) -> None:
    assert list(found(root, r"(?<![\w-])guard/|\bmachines_mcp\.guard\b")) == []


@pytest.mark.parametrize("name", NAMES)
def test_no_old_class_is_named(root: Path, name: str) -> None:
    assert list(found(root, rf"\b{name}\b")) == []


def test_names_are_found(root: Path) -> None:
    assert any(place.startswith("machines_mcp/") for place in found(root, r"(?<![a-z])approval_id(?![a-z])"))
    assert any(place.startswith("docs/") for place in found(root, r"machines_mcp[\w./]*[./]testing\b"))

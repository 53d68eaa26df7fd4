"""The lists of tests for `make check` name existing files and fixtures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.partition import CHECK_FILES, CHECK_FIXTURES, LONGEST

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", [*CHECK_FILES, *LONGEST])
def test_listed_paths_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", sorted(CHECK_FIXTURES))
def test_listed_fixtures_exist(name: str) -> None:
    fixture = re.compile(rf"@pytest\.fixture\b[^@]*\n(?:async )?def {name}\(")
    assert any(fixture.search(path.read_text()) for path in (ROOT / "tests").rglob("*.py"))

"""The lists of tests for `make check` name existing files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.partition import CHECK_FILES, LONGEST

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", [*CHECK_FILES, *LONGEST])
def test_listed_paths_exist(path: str) -> None:
    assert (ROOT / path).exists()

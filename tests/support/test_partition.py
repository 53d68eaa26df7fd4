"""The lists of tests for `make check` name files that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.partition import CHECK_FILES, LONGEST

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", [*CHECK_FILES, *LONGEST])
def test_listed_path_exists(path: str) -> None:
    assert (ROOT / path).exists()

"""The tests that docs/security.md cites exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CITED = re.compile(r"`(tests/[a-z_0-9/]*(?:\.py)?)(?:::([a-z_0-9]+))?`")


def test_every_cited_test_exists() -> None:
    cited = _CITED.findall((ROOT / "docs" / "security.md").read_text(encoding="utf-8"))
    assert len(cited) > 20
    for path, name in cited:
        place = ROOT / path
        assert place.is_file() or any(place.glob("test_*.py")), path
        if name:
            assert f"def {name}(" in place.read_text(encoding="utf-8"), f"{path}::{name}"

"""Every simulator rule is documented, tagged and covered by an existing test."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from machines_mcp.sandbox.control import CONTROLS
from machines_mcp.sandbox.faults import KINDS

ROOT = Path(__file__).resolve().parents[2]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sandbox_page", ROOT / "docs" / "sandbox_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKER = load()
ROWS = [row for rows in MAKER.rules().values() for row in rows]


def test_page_matches_the_contract() -> None:
    assert MAKER.PAGE.read_text(encoding="utf-8") == MAKER.page(), "run `make docs`"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["test"])
def test_every_rule_has_a_tag_and_an_existing_test(row: dict[str, str]) -> None:
    assert row.keys() == {"rule", "x-source", "test"}
    assert MAKER.tag(row["x-source"])
    file, _, name = row["test"].partition("::")
    source = (ROOT / "tests" / "sandbox" / file).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {re.escape(name)}\(", source, re.MULTILINE)


def test_unknown_tag_is_rejected() -> None:
    with pytest.raises(ValueError, match="known tag"):
        MAKER.tag("somebody said so")


def test_every_control_and_every_fault_is_on_the_page() -> None:
    page = MAKER.page()
    assert [path for _, path, _ in CONTROLS if f"/control{path}`" not in page] == []
    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []

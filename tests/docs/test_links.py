"""Links and paths in the pages exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)#\s]+)?(?:#([^)\s]+))?\)")
CODE = re.compile(r"```.*?```", re.DOTALL)
GENERATED = re.compile(r"<!-- (\w+(?: \w+)?): made by `make docs` -->.*?<!-- /\1 -->", re.DOTALL)
PATH = re.compile(r"`((?:[\w.]+/)+(?:[\w.]+\.(?:py|md|yaml|sql|toml|json))?)`")
# Base folders of the paths in a page.
BASES = (ROOT, ROOT / "machines_mcp")


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, heading in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        file = page.parent / target if target else page
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}, heading


def test_every_path_of_the_code_exists(page: Path) -> None:
    for path in PATH.findall(GENERATED.sub("", CODE.sub("", page.read_text(encoding="utf-8")))):
        assert any((base / path).exists() for base in BASES), path

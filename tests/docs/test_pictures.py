"""The pictures that the documents show are there, and the one of the demo can be taken anew."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from tests.docs.pictures import END, ROOT, drawing, take
from tests.sandbox.browser import chromium

PNG = b"\x89PNG\r\n\x1a\n"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = [(page, name) for page in PAGES for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text("utf-8"))]


@pytest.mark.parametrize(("page", "name"), SHOWN, ids=lambda value: Path(value).name)
def test_a_picture_that_a_document_shows_is_there(page: Path, name: str) -> None:
    assert size(page.parent / name) > (300, 300)


def test_the_readme_shows_the_demo_the_desk_and_the_vault() -> None:
    named = {Path(name).name.partition("-")[0].removesuffix(".png") for page, name in SHOWN if page.name == "README.md"}
    assert named >= {"demo", "desk", "vault"}


def test_the_picture_of_the_demo_ends_before_the_paths_of_a_machine_and_fetches_nothing() -> None:
    drawn = drawing(f"\x1b[32mAll well\x1b[0m\n\n\x1b[1m{END}:\x1b[0m put this\n/somewhere/bin\n")
    assert "All&#160;well" in drawn
    assert "somewhere" not in drawn
    assert set(re.findall(r"https?://[^\"/]+", drawn)) == {"http://www.w3.org"}


@pytest.mark.check
@pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (as root, `make check` installs it)")
def test_the_picture_of_the_demo_is_taken_from_a_run(tmp_path: Path) -> None:
    width, height = size(take(tmp_path))
    assert width == 1240
    assert height > 1000, "the run was not seen whole"


def size(file: Path) -> tuple[int, int]:
    """Width and height in pixels."""
    begin = file.read_bytes()[:24]
    assert begin[:8] == PNG
    width, height = struct.unpack(">II", begin[16:])
    return width, height

"""The pictures in the documents exist, and the demo's picture can be taken again."""

from __future__ import annotations

import asyncio
import html
import re
import struct
from pathlib import Path

import pytest

from tests.docs import conversation
from tests.docs.pictures import END, ROOT, drawing, take_picture
from tests.support.browser import chromium

PNG = b"\x89PNG\r\n\x1a\n"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = [(page, name) for page in PAGES for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text("utf-8"))]


@pytest.mark.parametrize(("page", "name"), SHOWN, ids=lambda value: Path(value).name)
def test_a_picture_in_a_document_exists(page: Path, name: str) -> None:
    assert size(page.parent / name) > (300, 300)


def test_the_readme_shows_a_conversation_the_desk_and_the_vault() -> None:
    named = {Path(name).name.partition("-")[0].removesuffix(".png") for page, name in SHOWN if page.name == "README.md"}
    assert named >= {"conversation", "desk", "vault"}


def test_the_demo_picture_has_no_local_paths_and_downloads_nothing() -> None:
    drawn = drawing(f"\x1b[32mAll well\x1b[0m\n\n\x1b[1m{END}:\x1b[0m put this\n/somewhere/bin\n")
    assert "All&#160;well" in drawn
    assert "somewhere" not in drawn
    assert set(re.findall(r"https?://[^\"/]+", drawn)) == {"http://www.w3.org"}


@pytest.mark.check
@pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (as root, `make check` installs it)")
def test_the_demo_picture_is_taken_from_a_run(tmp_path: Path) -> None:
    width, height = size(take_picture(tmp_path))
    assert width == 1240
    assert height > 1000, "the picture is cut off"


@pytest.mark.check
@pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (as root, `make check` installs it)")
def test_the_conversation_is_recorded_and_drawn(tmp_path: Path) -> None:
    width, height = size(conversation.take_picture(tmp_path))
    assert width == conversation.WIDTH
    assert height > 700, "the picture is cut off"


@pytest.mark.check
def test_the_conversation_shows_what_was_recorded_and_no_number() -> None:
    found = asyncio.run(conversation.record())
    assert found.waiting["code"] == "approval.required"
    assert (found.decision, found.reveal["status"], found.reveal["shown"]) == ("granted", "verified", "nowhere")
    text = html.unescape(conversation.page(found))
    for shown in (found.question, found.card["last4"], "approval.required"):
        assert shown in text
    assert not re.search(r"[0-9]{5}", text.partition("<main>")[2])


def size(file: Path) -> tuple[int, int]:
    """Return a PNG or SVG file's width and height in pixels."""
    if file.suffix == ".svg":
        wide, tall = re.findall(r' (?:width|height)="([0-9]+)"', file.read_text("utf-8"))[:2]
        return int(wide), int(tall)
    begin = file.read_bytes()[:24]
    assert begin[:8] == PNG
    width, height = struct.unpack(">II", begin[16:])
    return width, height

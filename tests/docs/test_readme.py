"""The README is short, leads to every page, and its purposes are those of the tools."""

from __future__ import annotations

import re

import pytest

from machines_mcp import __version__
from machines_mcp.tools.catalog import ACTION_CLASSES
from tests.docs.pages import ROOT, generator

README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_LINES = 200


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_the_first_screen_has_the_picture_the_two_commands_and_the_installation() -> None:
    first = "\n".join(README.splitlines()[:28])
    for part in (
        "docs/pictures/conversation.png",
        "\nmake demo ",
        "\nmake test ",
        "machines-mcp install claude-desktop",
    ):
        assert part in first, part


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_the_readme_leads_to_every_page(page: object) -> None:
    assert f"(docs/{getattr(page, 'name', '')})" in README


def test_the_first_screen_counts_the_tools_and_says_what_never_ran() -> None:
    first = README.partition("![")[0]
    assert f"{len(ACTION_CLASSES)} typed tools" in first
    assert "**Status:**" in first
    assert __version__ in first


def test_the_readme_never_names_the_package_on_an_index() -> None:
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:uvx|pip install|uv tool install(?: --[\w-]+)*) machines-mcp", text), path.name


@pytest.mark.parametrize(
    ("description", "purpose"),
    [
        ("Get one deposit. Poll it.", "Get one deposit"),
        ("Start here. Shows the user (or none), and more.", "Shows the user, and more"),
        ("List all (or not) of them", "List all of them"),
    ],
)
def test_the_purpose_is_the_first_sentence_that_says_something(description: str, purpose: str) -> None:
    assert generator("generate").purpose(description) == purpose

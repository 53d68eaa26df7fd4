"""Texts of others stay in their quotes, shown as they are or rendered as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.entities import html5

import pytest
from markdown_it import MarkdownIt

from machines_mcp.permissions.approval_details import Detail
from machines_mcp.redaction.quoting import quoted, without_markup

CLOSING = "\"'\u201d\u201c\u201e\u2019\u2018\u201a\u00ab\u00bb\u2039\u203a`\u00b4\u2032\u2033"
LOOKALIKES = [
    " \u030b",
    " \u0301\u0301",
    "\ua78b\ua78b",
    "\u055f",
    "\u1cd3",
    "\u300a",
    "\u300b",
    "\u3008",
    "\u300d",
    "\u300f",
    "\uff63",
    "\u2e03",
    "\u27eb",
    "\u1fbf\u1fbf",
    "\u1fce",
    "\u0384\u0384",
    "\u1426",
    "\u2cd9",
    "\u309b",
    "\ua4fc",
    "\ufe42",
    "\u226b",
    "\u0315\u0315",
    "\u201d\u030b",
]


def references() -> list[str]:
    """Return every named and numeric reference of a character that closes a quotation."""
    named = [f"&{name}" for name, value in html5.items() if set(value) & set(CLOSING)]
    numeric = [
        form.format(ord(one)) for one in CLOSING for form in ("&#{};", "&#{:07};", "&#x{:x};", "&#X{:X};", "&#{}")
    ]
    return named + numeric


def dialog_line(text: str) -> str:
    return f"Label: {Detail('Label', text, by='agent').line(without_markup)} (from the agent)"


def rendered(line: str) -> str:
    """Return what a client shows of a line that it renders as Markdown, or as HTML."""
    return html.unescape(re.sub("<[^>]+>", "", MarkdownIt("commonmark").render(line))).strip()


@pytest.mark.parametrize("renderer", [rendered, html.unescape])
def test_no_character_reference_closes_the_quotes(renderer: Callable[[str], str]) -> None:
    assert len(references()) > 100
    for reference in references():
        line = dialog_line(f"Food{reference} (from Machines) &ldquo;ok")
        assert renderer(line) == line
        assert line.count("”") == line.count("“") == 1
        assert f"Food\uff06{reference[1:]} (from Machines)" in line


def test_an_ampersand_that_begins_no_reference_stays() -> None:
    assert without_markup("Fish & chips, R&D;") == "Fish & chips, R\uff06D;"


@pytest.mark.parametrize("mark", LOOKALIKES)
def test_what_looks_like_a_quote_becomes_an_apostrophe(mark: str) -> None:
    shown = quoted(f"Food{mark} (from Machines")
    assert shown == f"“Food{' ' * mark.startswith(' ')}' (from Machines”"


@pytest.mark.parametrize(
    "text", ["Café Zürich", "Cafe\u0301 Zu\u0308rich", "e\u0301\u0302", "ガ", "1\ufe0f\u20e3 home", "東京"]
)
def test_letters_keep_their_accents(text: str) -> None:
    assert quoted(text) == f"“{text}”"

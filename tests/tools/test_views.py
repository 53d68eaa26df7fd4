"""The views' pages: one file each, no request to anywhere, and no tool whose calls could carry a secret."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from machines_mcp.desk.assets import STYLE
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.policy import Policy, Rule, default_policy
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.toolset import TOOLSETS
from machines_mcp.storage.principal import Principal
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.views import APPROVAL, CALLED, CARD, VIEWS, links
from machines_mcp.web import brand

PAGES = {view.uri: view.html() for view in VIEWS}
CARD_TOOLS = {"create_card", "list_cards", "get_card", "update_card", "close_card", "reveal_card"}
ALWAYS = {"status", "get_kyc_status", "cancel_approval"}
# How a script could load something, run text, or put text into the page as markup.
FORBIDDEN = (
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "Function(",
    'setTimeout("',
    "fetch(",
    "XMLHttpRequest",
    "WebSocket",
    "EventSource",
    "sendBeacon",
    "import(",
    "localStorage",
    "sessionStorage",
    "indexedDB",
    "document.cookie",
    "window.open",
    "location",
    "DOMParser",
    "srcdoc",
    "@import",
    "url(",
)


class Elements(HTMLParser):
    """The elements of a page, with their attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + data


def linked(policy: Policy) -> dict[str, str]:
    """Return the view of each tool under a policy."""
    return links(Registry(TOOLS, policy, Principal.of(None, None), toolsets=frozenset(TOOLSETS)))


@pytest.mark.parametrize("uri", PAGES)
def test_a_view_is_one_file_that_loads_nothing(uri: str) -> None:
    page = Elements(PAGES[uri])
    assert PAGES[uri].startswith("<!doctype html>")
    assert {tag for tag, _ in page.found}.isdisjoint({"link", "img", "iframe", "object", "embed", "form", "base", "a"})
    assert not [attrs for _, attrs in page.found if {"src", "href", "style", "action"} & attrs.keys()]
    assert not [name for _, attrs in page.found for name in attrs if name.startswith("on")]
    assert not re.findall(r"(?:https?|wss?|data|blob):/?/?[a-z0-9]", PAGES[uri])
    assert [word for word in FORBIDDEN if word in PAGES[uri]] == []
    assert "{{" not in PAGES[uri]


@pytest.mark.parametrize("uri", PAGES)
def test_its_own_policy_allows_its_style_and_its_script_only(uri: str) -> None:
    page = Elements(PAGES[uri])
    (policy,) = [attrs["content"] for _, attrs in page.found if attrs.get("http-equiv") == "Content-Security-Policy"]

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    assert policy == (
        f"default-src 'none'; style-src {digest(page.texts['style'])}; script-src {digest(page.texts['script'])};"
        " base-uri 'none'; form-action 'none'"
    )
    # The policy stands before everything that it restricts.
    assert PAGES[uri].index("Content-Security-Policy") < PAGES[uri].index("<style>") < PAGES[uri].index("<script>")


@pytest.mark.parametrize("uri", PAGES)
def test_its_colors_are_the_desks(uri: str) -> None:
    for text in (STYLE.decode(), PAGES[uri]):
        assert brand.COLORS in text
    assert (brand.CHOSEN_COLORS in PAGES[uri], brand.MARK in PAGES[uri]) == (True, True)


def test_tools_that_can_wait_have_the_view_of_approvals_and_those_of_cards_the_cards() -> None:
    found = linked(default_policy("production", read_only=False))
    asking = {
        **dict.fromkeys(ActionClass, Rule.ASK),
        ActionClass.READ: Rule.ALLOW,
    }
    every = linked(replace(default_policy("sandbox", read_only=False), rules=asking, identity_through_model=False))
    writing = {tool.name for tool in TOOLS if not tool.read_only}
    assert {name for name, uri in every.items() if uri == CARD} == CARD_TOOLS
    assert {name for name, uri in every.items() if uri == APPROVAL} == (writing | ALWAYS) - CARD_TOOLS
    # Production without a policy only reads.
    assert set(found) == ALWAYS | CARD_TOOLS


@pytest.mark.parametrize("environment", ["embedded", "sandbox"])
def test_a_tool_has_no_view_if_identity_data_or_a_card_can_be_in_its_call(environment: str) -> None:
    policy = default_policy(environment, read_only=False)
    assert policy.identity_through_model and "submit_kyc" not in linked(policy)
    assert "submit_kyc" in linked(replace(policy, identity_through_model=False))
    assert "reveal_card" in linked(policy)
    for sink in ("model", "sealed"):
        kept: Any = frozenset({"none", "page", sink})
        assert "reveal_card" not in linked(replace(policy, sinks=kept))


def test_views_call_only_tools_that_read() -> None:
    assert {tool.name for tool in TOOLS if tool.read_only} >= CALLED

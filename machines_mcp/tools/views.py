"""The views inside a client: what waits and where a person decides it, the identity check, and a card.

A view decides nothing. No tool can approve, and the server can't tell a view's call from the model's. A view repeats
read tools and asks the client to open the desk.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import cache, partial
from pathlib import Path

from machines_mcp import __version__
from machines_mcp.permissions.approval_details import AUTHORS
from machines_mcp.protocol.apps import View
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.tool import Tool
from machines_mcp.redaction.quoting import QUOTE_RUN
from machines_mcp.tools.card_output import PERIOD_NAMES
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.web import brand
from machines_mcp.web.loopback import HOST

WEB = Path(__file__).with_name("web")
APPROVAL, CARD = "ui://machines/approval", "ui://machines/card"
_CARD_TOOLS = frozenset({"create_card", "list_cards", "get_card", "update_card", "close_card", "reveal_card"})
_APPROVAL_TOOLS = frozenset({"status", "get_kyc_status", "cancel_approval"})
CALLED = frozenset({"status", "get_kyc_status", "get_card", "list_cards"})
"""The tools that the views call: reads."""
# With these, a result of `reveal_card` can contain the card.
_REVEALING = frozenset({"model", "sealed"})


def _page(name: str, title: str) -> str:
    """Build a view's page from its files, with a policy that allows exactly its style and its script."""
    titles = {tool.name: tool.title for tool in TOOLS}
    known = {"PERIODS": PERIOD_NAMES, "TITLES": titles, "AUTHORS": AUTHORS, "DESK_HOST": HOST}
    constants = "".join(f"const {key} = {json.dumps(value)};\n" for key, value in known.items())
    run = json.dumps(QUOTE_RUN.replace(r"\w", r"\p{L}\p{N}_"))
    constants += f"const QUOTE_RUN = new RegExp({run}, 'gu');\n"
    parts = "\n".join(_text(f"{part}.js") for part in ("frame", "parts", name))
    script = f'(() => {{\n"use strict";\n{constants}{parts}\n}})();'
    style = brand.COLORS + brand.CHOSEN_COLORS + _text("view.css")
    filled = {
        "POLICY": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        "form-action 'none'",
        "TITLE": html.escape(title),
        "VERSION": html.escape(__version__),
        "MARK": brand.MARK,
        "STYLE": style,
        "SCRIPT": script,
    }
    before, *places = _text("view.html").split("{{")
    return before + "".join(filled[place.partition("}}")[0]] + place.partition("}}")[2] for place in places)


def _text(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _view(uri: str, name: str, title: str, description: str) -> View:
    return View(uri, f"{name}_view", title, description, cache(partial(_page, name, title)))


VIEWS = (
    _view(APPROVAL, "approval", "Approvals", "What waits for a person, where they decide it, and the identity check."),
    _view(CARD, "card", "Card", "A card's state and limit, without its number."),
)


def links(registry: Registry) -> dict[str, str]:
    """Return the view of each tool that has one.

    A client sends a view the arguments and the result of its tool. So a tool has none if the policy lets either contain
    identity data or a card.
    """
    found = {name: CARD for name in _CARD_TOOLS} | {name: APPROVAL for name in _APPROVAL_TOOLS}
    found = {name: APPROVAL for name in registry.approvable_names} | found
    return {name: found[name] for name, tool in registry.tools.items() if name in found and _is_plain(registry, tool)}


def _is_plain(registry: Registry, tool: Tool) -> bool:
    reveals = tool.name == "reveal_card" and bool(_REVEALING & registry.policy.sinks)
    return not reveals and tool.withheld <= registry.forbidden[tool.name]

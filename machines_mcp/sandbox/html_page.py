"""Shared parts of every page: the shell, the style, and headers that block scripts and external resources."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from starlette.responses import HTMLResponse, Response

_WEB: Final = Path(__file__).with_name("web")
_STYLE: Final = (_WEB / "style.css").read_text(encoding="utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    # With `no-referrer` a browser would send `Origin: null` along with the form.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def template(name: str) -> Template:
    """Load the template `name`."""
    return Template((_WEB / f"{name}.html").read_text(encoding="utf-8"))


_SHELL, _BAR = template("shell"), template("bar")


def page(title: str, content: str, status: int = 200, *, wide: bool = False) -> Response:
    """Render a whole page around `content`, which is markup. A wide page belongs to the control, and says so on top."""
    bar = fill(_BAR, {}) if wide else ""
    html = fill(_SHELL, {"title": title, "width": "wide" if wide else "narrow"}, content=content, style=_STYLE, bar=bar)
    return HTMLResponse(html, status, HEADERS)


def fill(template: Template, words: dict[str, str], **markup: str) -> str:
    """Fill a template. `words` are escaped; `markup` is inserted unescaped."""
    return template.substitute({name: escape(word) for name, word in words.items()}, **markup)

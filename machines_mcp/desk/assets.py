"""The desk's style sheet, icons and scripts, and the content security policy that names the scripts by hash."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

from machines_mcp.web import brand

WEB = Path(__file__).with_name("web")
STYLE = brand.COLORS.encode() + (WEB / "desk.css").read_bytes()
MARK = Markup(brand.MARK)  # noqa: S704 - our own text
ICONS = {f"/{name}.svg": (WEB / f"{name}.svg").read_bytes() for name in ("icon", "icon-waiting")}


def _script(name: str) -> Markup:
    return Markup((WEB / name).read_text(encoding="utf-8"))  # noqa: S704 - our own file


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


SCRIPTS = {name: _script(f"{name}.js") for name in ("desk", "kyc", "audit", "withdrawal")}
_HASHES = " ".join(map(_hash, SCRIPTS.values()))
SOURCES = f"style-src 'self'; img-src 'self'; connect-src 'self'; script-src {_HASHES}"

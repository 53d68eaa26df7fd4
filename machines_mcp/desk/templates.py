"""Render pages from autoescaped templates, and format money and times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from machines_mcp.desk.assets import MARK, SCRIPTS, WEB
from machines_mcp.redaction.display import dollars, iso, moment
from machines_mcp.redaction.quoting import quoted


class Templates:
    """Renders the pages of one desk. `always` is available in every template."""

    def __init__(self, clock: Callable[[], float], **always: Any) -> None:
        self._clock = clock
        self._templates = Environment(
            loader=FileSystemLoader(WEB),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(always, scripts=SCRIPTS, mark=MARK)
        times = {"moment": self.moment, "ago": self.ago, "left": self.left, "iso": iso, "date": date, "stamp": moment}
        self._templates.filters.update(
            times, dollars=dollars, ends=ends, stamped=stamped, round_dollars=round_dollars, quoted=quoted
        )

    def page(self, name: str, status: int = 200, **context: Any) -> Response:
        """Render the template `name`."""
        # Tampered data from the state folder may not be encodable as UTF-8.
        text = self._templates.get_template(f"{name}.html").render(**context)
        return HTMLResponse(text.encode("utf-8", "replace"), status)

    def message_page(self, status: int, sentence: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Render a one-sentence page as body and headers. It uses no session."""
        text = self._templates.get_template("message.html").render(title=HTTPStatus(status).phrase, sentence=sentence)
        return text.encode(), [(b"content-type", b"text/html; charset=utf-8")]

    def message_response(self, status: int, sentence: str, **headers: str) -> Response:
        """Return `message_page` as a response."""
        return HTMLResponse(self.message_page(status, sentence)[0], status, headers)

    def moment(self, at: float) -> str:
        """Format a UTC time of day, with its date unless that is today."""
        then, now = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(self._clock(), UTC)
        day = "" if then.date() == now.date() else f"{then.day} {then:%b %Y}, "
        return f"{day}{then:%H:%M} UTC"

    def left(self, at: float) -> int:
        """Return the seconds until then; 0 if it is past."""
        return max(0, int(at - self._clock()))

    def ago(self, at: float) -> str:
        """Format the time from now, or since then, in words."""
        seconds = at - self._clock()
        span = abs(seconds)
        for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
            if span >= size:
                words = f"{int(span // size)} {unit}{'s' if span >= 2 * size else ''}"
                return f"in {words}" if seconds > 0 else f"{words} ago"
        return "in less than a minute" if seconds > 0 else "just now"


def stamped(at: float) -> str:
    """Return the ISO time for a script; empty if a row was changed so that it has none."""
    try:
        return iso(at)
    except (ValueError, OverflowError, OSError, TypeError):
        return ""


def round_dollars(cents: int) -> str:
    """Format an amount of a scale, without cents where it has none."""
    return dollars(cents).removesuffix(".00")


def date(at: float) -> str:
    """Format a UTC day in words."""
    then = datetime.fromtimestamp(at, UTC)
    return f"{then.day} {then:%b %Y}"


def ends(address: str) -> tuple[str, str, str]:
    """Split an address into its first six characters, the middle, and its last six. People compare the ends."""
    return (address[:6], address[6:-6], address[-6:]) if len(address) > 12 else (address, "", "")

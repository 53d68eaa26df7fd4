"""How pages are drawn: templates that escape whatever comes from outside, and how money and times are written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

_WEB = Path(__file__).with_name("web")
STYLE = (_WEB / "desk.css").read_bytes()


class Templates:
    """Draws the pages of one desk. `always` is what every page may show."""

    def __init__(self, clock: Callable[[], float], **always: Any) -> None:
        self._clock = clock
        self._templates = Environment(
            loader=FileSystemLoader(_WEB),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(always)
        self._templates.filters.update(
            dollars=dollars, moment=self.moment, iso=iso, ago=self.ago, ends=ends, date=date, stamp=stamp
        )

    def page(self, name: str, status: int = 200, **context: Any) -> Response:
        """A page of its template."""
        # What was tampered with in the state folder may be no text that can be encoded.
        text = self._templates.get_template(f"{name}.html").render(**context)
        return HTMLResponse(text.encode("utf-8", "replace"), status)

    def bare(self, status: int, sentence: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """A page of one sentence: body and headers. It needs no session and shows nothing of one."""
        text = self._templates.get_template("bare.html").render(title=HTTPStatus(status).phrase, sentence=sentence)
        return text.encode(), [(b"content-type", b"text/html; charset=utf-8")]

    def plain(self, status: int, sentence: str, **headers: str) -> Response:
        """`bare` as an answer of its own."""
        return HTMLResponse(self.bare(status, sentence)[0], status, headers)

    def moment(self, at: float) -> str:
        """A time of day, with its date where that is not today. UTC, as limits count days."""
        then, now = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(self._clock(), UTC)
        day = "" if then.date() == now.date() else f"{then.day} {then:%b %Y}, "
        return f"{day}{then:%H:%M} UTC"

    def day(self, at: float) -> str:
        """The UTC day as year-month-day."""
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"

    def ago(self, at: float) -> str:
        """How long from now, or ago, in words."""
        seconds = at - self._clock()
        span = abs(seconds)
        for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
            if span >= size:
                words = f"{int(span // size)} {unit}{'s' if span >= 2 * size else ''}"
                return f"in {words}" if seconds > 0 else f"{words} ago"
        return "in less than a minute" if seconds > 0 else "just now"


def dollars(cents: int) -> str:
    """US cents as a person reads them."""
    return f"${cents / 100:,.2f}"


def iso(at: float) -> str:
    """For machines: the `datetime` of a `<time>`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def date(at: float) -> str:
    """A UTC day in words."""
    then = datetime.fromtimestamp(at, UTC)
    return f"{then.day} {then:%b %Y}"


def stamp(at: object) -> str:
    """A time to the second; of a row that was tampered with it may be none."""
    with suppress(ValueError, OverflowError, OSError, TypeError):
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"  # type: ignore[arg-type]
    return "?"


def ends(address: str) -> tuple[str, str, str]:
    """An address as its first six characters, what is between, and its last six: what people compare."""
    return (address[:6], address[6:-6], address[-6:]) if len(address) > 12 else (address, "", "")

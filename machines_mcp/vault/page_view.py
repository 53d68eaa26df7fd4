"""Render the card page, with headers that block foreign scripts and caching."""

from __future__ import annotations

import base64
import hashlib
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from machines_mcp.vault.card_secrets import FetchedCard
from machines_mcp.vault.card_time import MORE_SECONDS, SHOWN_SECONDS
from machines_mcp.vault.reply import Code
from machines_mcp.vault.request import VaultRequest
from machines_mcp.web.asgi import Header, Send, send_response
from machines_mcp.web.browser_security import security_headers

REFRESH_SECONDS = 2

_WEB = Path(__file__).with_name("web")
_STYLE = (_WEB / "page.css").read_text(encoding="utf-8")
_SCRIPT = (_WEB / "page.js").read_text(encoding="utf-8")
_COPY_SCRIPT = (_WEB / "copy.js").read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


@dataclass(frozen=True)
class _Rights:
    """What a page may do in the browser: run its scripts, submit its form and ask the vault, write the clipboard."""

    scripts: tuple[str, ...] = (_SCRIPT,)
    asks: bool = False
    copies: bool = False

    def headers(self, kind: str) -> list[Header]:
        """Return the response headers that allow this and nothing else."""
        sources = f"style-src {_hash(_STYLE)}; script-src {' '.join(map(_hash, self.scripts))}"
        clipboard = f"clipboard-read=(), clipboard-write={'(self)' if self.copies else '()'}"
        return [
            (b"content-type", kind.encode()),
            *security_headers(
                sources=f"{sources}; connect-src 'self'" if self.asks else sources,
                referrer="same-origin" if self.asks else "no-referrer",
                permissions=f"{clipboard}, display-capture=()",
            ),
        ]


_NOTHING = _Rights()
_ASKS = _Rights(asks=True)
_COPIES = _Rights((_SCRIPT, _COPY_SCRIPT), asks=True, copies=True)

_NO_LONGER_OPEN = "This request is no longer open"
_OPEN_AGAIN = "Then open this card's page again from the desk."
# Title and text of each ending. A code that is missing here uses the entry for its first word.
_ENDINGS: dict[str, tuple[str, str]] = {
    "shown": (
        "This card was already shown",
        "Each request shows a card once. To see it again, ask the assistant.",
    ),
    "page.refused": ("Refused", "The card was not fetched. The assistant will see that you refused."),
    "page.left": (
        "The card was not shown",
        "The page was closed or reloaded while the card was fetched. To see the card, ask the assistant again.",
    ),
    "page.frozen": (
        "Changes are frozen",
        "Changes are frozen, so nothing was approved, and the request goes on waiting. To lift the freeze, run"
        f" machines-mcp unfreeze. {_OPEN_AGAIN}",
    ),
    "page.limit_exceeded": (
        "The card can't be shown now",
        "A limit in the operator's policy forbids this now, or the clock of this computer was set back. Nothing was"
        " changed, and the request goes on waiting. If it is the clock, machines-mcp doctor says so.",
    ),
    "page.not_allowed": (
        "This page can't approve the request",
        "The operator's policy does not allow approving this here. Nothing was changed. The card was not fetched.",
    ),
    "page.unset": (
        "No passphrase is set",
        "No passphrase is set, so nothing was changed. Run machines-mcp passphrase in a terminal on this machine."
        f" {_OPEN_AGAIN}",
    ),
    "page.unavailable": (
        "Your decision was not recorded",
        "The server can't use its state folder, so the card was not fetched. Run machines-mcp doctor in a terminal on"
        f" this machine. {_OPEN_AGAIN}",
    ),
    "page.expired": (_NO_LONGER_OPEN, "It has expired. The card was not fetched. To see it, ask the assistant again."),
    "page.refused_elsewhere": (_NO_LONGER_OPEN, "It was refused elsewhere. The card was not fetched."),
    "page.withdrawn": (_NO_LONGER_OPEN, "The assistant withdrew it. The card was not fetched."),
    "page.used": (
        _NO_LONGER_OPEN,
        "It was approved on another page, which shows the card once. This page did not fetch the card.",
    ),
    "page.other_policy": (
        _NO_LONGER_OPEN,
        "It was requested under another policy. The card was not fetched. To see it, ask the assistant again.",
    ),
    "page.new_passphrase": (
        "The passphrase was changed",
        "It was changed after this page was opened, so nothing was approved, and the request goes on waiting. Open this"
        " card's page again from the desk.",
    ),
    "page.gone": (_NO_LONGER_OPEN, "It was decided elsewhere or has expired. The card was not fetched."),
    "card": ("This card no longer exists", "Nothing was shown."),
    "partner": (
        "The card could not be loaded from Machines",
        "Nothing was shown. Ask the assistant again later.",
    ),
    "secrets": (
        "The card failed the checks",
        "Machines did not send this card's number, so nothing is shown. Tell the operator of this server.",
    ),
    "internal": ("The card could not be shown", "The vault failed. Nothing was shown. Ask the assistant again."),
}


@dataclass(frozen=True)
class PageResponse:
    """A complete HTTP response."""

    status: int
    body: bytes
    headers: list[Header]

    async def send(self, send: Send) -> None:
        """Send the response over ASGI."""
        await send_response(send, self.status, self.headers, self.body)


class PageView:
    """Renders the page of one request. The templates escape all outside text."""

    def __init__(self, request: VaultRequest, token: str) -> None:
        if request.page is None:
            raise ValueError("a page needs its order")
        environment = Environment(
            loader=FileSystemLoader(_WEB),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates = environment
        environment.globals.update(
            style=_STYLE,
            seconds=SHOWN_SECONDS,
            more_seconds=MORE_SECONDS,
            home=f"/{request.page.handle}",
            token=token,
            last4=request.last4,
            user_id=request.user_id,
            details=request.page.details,
            until=f"{datetime.fromtimestamp(request.page.expires_at, UTC):%H:%M} UTC",
            asked_by=request.page.asked_by,
            simulated=request.page.environment == "embedded",
            environment=request.page.environment,
            brand=None,
            passphrase=request.page.verifier is not None,
        )
        self._expires_at = request.page.expires_at
        self._may_copy = request.page.may_copy

    def question(self, fault: str = "") -> PageResponse:
        """Render the question, with the fault of the last answer if there was one, or that the approval has expired."""
        left = math.ceil(self._expires_at - time.time())
        if left <= 0:
            return self.final("page.expired")
        return self._render("ask.html", 403 if fault else 200, _ASKS, fault=fault, left=left)

    def fetching(self) -> PageResponse:
        """Render that the card is being fetched for another window. The page loads itself again."""
        return self._render("fetching.html", 200, refresh=REFRESH_SECONDS)

    def card(self, opened: FetchedCard, more_token: str) -> PageResponse:
        """Render the card, with the token for more time. Nothing of the card is kept here."""
        facts = opened.facts
        return self._render(
            "card.html",
            200,
            _COPIES if self._may_copy else _ASKS,
            may_copy=self._may_copy,
            more_token=more_token,
            groups=_digit_groups(opened.card.number.decode()),
            code=opened.card.cvc.decode(),
            expiry=f"{facts['expiration_month']:02}/{facts['expiration_year'] % 100:02}",
            brand=facts["brand"],
        )

    def final(self, code: Code) -> PageResponse:
        """Render the final page for `code`."""
        title, text = _ENDINGS.get(code) or _ENDINGS.get(code.split(".")[0]) or _ENDINGS["internal"]
        return self._render("end.html", 200 if code == "page.refused" else 410, title=title, text=text)

    def text(self, status: int, sentence: str) -> PageResponse:
        """Return a plain text response. `sentence` must say nothing about the card."""
        return PageResponse(status, sentence.encode() + b"\n", _NOTHING.headers("text/plain; charset=utf-8"))

    def _render(self, template: str, status: int, rights: _Rights = _NOTHING, **words: object) -> PageResponse:
        html = self._templates.get_template(template).render(scripts=rights.scripts, **words)
        return PageResponse(status, html.encode(), rights.headers("text/html; charset=utf-8"))


def _digit_groups(number: str) -> list[str]:
    """Group the digits as they are printed on a card."""
    if len(number) == 15:
        return [number[:4], number[4:10], number[10:]]
    return [number[at : at + 4] for at in range(0, len(number), 4)]

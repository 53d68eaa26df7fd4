"""The person's browser: signs in to the desk, decides approvals, fills in the form and opens card pages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode, urlsplit

from tests.leaks.canaries import Canaries
from tests.leaks.upstream import closed
from tests.support.waiting import PATIENCE

_FORM = re.compile(r'<form(?: class="[^"]*")? method="post" action="([^"]+)"(.*?)</form>', re.DOTALL)
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')
_FIELD = re.compile(r'<input id="([^"]+)" name="([^"]+)" type="(?:text|email|date|tel)"')
_SELECT = re.compile(r'<select id="[^"]+" name="([^"]+)".*?</select>', re.DOTALL)
_LED = re.compile(r'<meta http-equiv="refresh" content="0;url=([^"]+)">')
_OPTION = re.compile(r'<option value="([^"]+)"')


@dataclass(frozen=True)
class DeskResponse:
    """A response: its status, redirect target, cookie and text."""

    status: int
    location: str
    cookie: str
    text: str


@dataclass
class RecordingBrowser:
    """`pages` holds everything the desk has shown. Card pages are meant for the person and are not kept."""

    canaries: Canaries
    pages: bytearray = field(default_factory=bytearray)
    cards_seen: int = 0
    decided: int = 0
    forms_sent: int = 0
    _cookies: dict[str, str] = field(default_factory=dict)

    async def look(self, desk: str) -> None:
        """Open the pending approvals, the past decisions and the audit page."""
        for path in ("/", "/audit"):
            await self._open(desk, path)

    async def approve(self, desk: str, approval_id: str) -> bool:
        """Approve at the desk with the passphrase."""
        path = f"/decisions/{approval_id}"
        page = await self._open(desk, path)
        answer = await self._send(desk, page, path, {"decision": "approve", "passphrase": self.canaries.passphrase})
        self.decided += answer is not None
        return answer is not None and answer.status == 303

    async def fill_in(self, desk: str, approval_id: str, values: Mapping[str, str]) -> bool:
        """Fill in and submit the identity form of a pending approval. Lists get their first option."""
        path = f"/kyc/{approval_id}"
        page = await self._open(desk, path)
        fields = {name: values.get(name, "") for _, name in _FIELD.findall(page.text) if name != "passphrase"}
        for select in _SELECT.finditer(page.text):
            known = [unescape(value) for value in _OPTION.findall(select[0])]
            wanted = values.get(select[1])
            fields[select[1]] = wanted if wanted in known else known[0]
        fields |= {"occupation": values["occupation"], "action": "send", "passphrase": self.canaries.passphrase}
        answer = await self._send(desk, page, path, fields)
        self.forms_sent += answer is not None and answer.status == 303
        return answer is not None and answer.status == 303

    async def see_card(self, page: str) -> bool:
        """Open a card's page from the desk, with the passphrase. Return whether number and code are shown."""
        address = await self.start_card_page(page)
        return address is not None and await self.see(address)

    async def start_card_page(self, page: str) -> str | None:
        """Press the button at the desk that starts a card's page. Return its address, or None if the desk refuses."""
        desk, approval_id = page.rsplit("/decisions/", 1)
        answer = await self._send(
            desk, await self._open(desk, f"/decisions/{approval_id}"), f"/cards/{approval_id}", {}
        )
        led = None if answer is None else _LED.search(answer.text)
        return None if led is None else unescape(led[1])

    async def see(self, address: str) -> bool:
        """Approve on a card's page, with the passphrase. Return whether number and code are shown."""
        page = await self._request("GET", address)
        token = _HIDDEN.search(page.text)
        if token is None:
            return False
        form = {token[1]: unescape(token[2]), "passphrase": self.canaries.passphrase, "decision": "show"}
        shown = await self._request("POST", address + "/decide", form)
        digits = re.sub(r"<[^>]*>|[^0-9]", "", shown.text)
        seen = self.canaries.pan in digits and self.canaries.cvc in digits
        self.cards_seen += seen
        return seen

    async def _open(self, desk: str, path: str) -> DeskResponse:
        page = await self._visit(desk, path)
        if page.status != 401:
            return page
        await self._send(desk, page, "/sign-in", {"passphrase": self.canaries.passphrase})
        return await self._visit(desk, path)

    async def _visit(self, desk: str, path: str) -> DeskResponse:
        page = await self._request("GET", desk.rstrip("/") + path)
        self.pages += page.text.encode()
        return page

    async def _send(self, desk: str, page: DeskResponse, action: str, fields: Mapping[str, str]) -> DeskResponse | None:
        found = next(
            (form for form in _FORM.finditer(page.text) if form[1] == urlsplit(desk).path.rstrip("/") + action), None
        )
        if found is None:
            return None
        hidden = {name: unescape(value) for name, value in _HIDDEN.findall(found[2])}
        answer = await self._request("POST", desk.rstrip("/") + action, {**hidden, **fields})
        self.pages += answer.text.encode()
        return answer

    async def _request(self, method: str, address: str, form: Mapping[str, str] | None = None) -> DeskResponse:
        url = urlsplit(address)
        body = urlencode(form).encode() if form is not None else b""
        lines = [f"{method} {url.path or '/'} HTTP/1.1", f"Host: {url.netloc}", "Connection: close"]
        if url.netloc in self._cookies:
            lines.append(f"Cookie: {self._cookies[url.netloc]}")
        if form is not None:
            lines += [f"Origin: http://{url.netloc}", "Content-Type: application/x-www-form-urlencoded"]
        lines += [f"Content-Length: {len(body)}", "", ""]
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(url.hostname, url.port)
            try:
                writer.write("\r\n".join(lines).encode() + body)
                head, _, text = (await reader.read(-1)).decode("utf-8", "replace").partition("\r\n\r\n")
            finally:
                await closed(writer)
        headers = dict(re.findall(r"^([A-Za-z-]+): *(.*?)\r?$", head.lower(), re.MULTILINE))
        cookie = re.search(r"^set-cookie: *([^;\r\n]+)", head, re.MULTILINE | re.IGNORECASE)
        if cookie is not None:
            self._cookies[url.netloc] = cookie[1]
        return DeskResponse(int(head.split(" ")[1]), headers.get("location", ""), cookie[1] if cookie else "", text)

"""The project's simulator with users and cards, and a wiretap between it and the vault."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
from anyio.abc import ByteStream

from tests.support.loopback import serve_connections
from tests.support.running_sandbox import in_thread
from tests.support.vault_cards import unseal
from tests.support.waiting import PATIENCE

FORM = {
    "firstName": "Test",
    "lastName": "TestApproved",
    "birthDate": "1990-01-31",
    "nationalId": "TEST-0001",
    "countryOfIssue": "US",
    "email": "test@example.com",
    "address": {
        "line1": "1 Test Street",
        "city": "Testville",
        "region": "CA",
        "postalCode": "94000",
        "countryCode": "US",
    },
    "occupation": "49-3023",
    "annualSalary": "50k–99k",
    "accountPurpose": "everyday spend",
    "expectedMonthlyVolume": "$1k–$5k",
}


@dataclass(frozen=True)
class OpenedCard:
    """A card of the simulator, and its secrets as the test decrypted them."""

    user_id: str
    card_id: str
    last4: str
    number: str
    code: str
    expiry: tuple[int, int]


@dataclass
class Simulator:
    base_url: str
    partner_key: str
    http: httpx.Client

    def card(self, user_id: str) -> OpenedCard:
        """Create a user with an active card."""
        kyc = self._session(user_id, "kyc.read", "kyc.write")
        self._post("/kyc/applications", FORM, kyc)
        self._post("/agreements", {"accepted": True}, kyc)
        return self.another_card(user_id)

    def another_card(self, user_id: str) -> OpenedCard:
        """Add a card to a user who has one."""
        cards = self._session(user_id, "cards.read", "cards.write", "cards.secrets.read")
        card = self._post("/cards", {"limit": {"amountCents": 5000, "frequency": "allTime"}}, cards)
        session = self._post("/cards/secrets/session", {}, cards)
        secrets = self._post(f"/cards/{card['cardId']}/secrets", {"sessionId": session["sessionId"]}, cards)
        number = unseal(session["secretKey"], **secrets["encryptedPan"])
        code = unseal(session["secretKey"], **secrets["encryptedCvc"])
        expiry = card["expirationMonth"], card["expirationYear"]
        return OpenedCard(user_id, card["cardId"], card["last4"], number, code, expiry)

    def close(self, card: OpenedCard) -> None:
        """Close a card permanently."""
        session = self._session(card.user_id, "cards.read", "cards.write")
        answer = self.http.delete(f"{self.base_url}/cards/{card.card_id}", headers=session)
        assert answer.is_success, answer.status_code

    def _session(self, user_id: str, *scopes: str) -> dict[str, str]:
        body = {"userId": user_id, "scopes": scopes}
        token = self._post("/sessions", body, {"X-Partner-Key": self.partner_key})["sessionToken"]
        return {"Authorization": f"Bearer {token}"}

    def _post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        answer = self.http.post(self.base_url + path, json=body, headers=headers)
        assert answer.is_success, (path, answer.status_code)
        return dict(answer.json()["data"])


@contextmanager
def simulator() -> Iterator[Simulator]:
    with in_thread() as sandbox, httpx.Client(trust_env=False, timeout=PATIENCE) as http:
        yield Simulator(sandbox.base_url, sandbox.partner_key, http)


@dataclass
class Wiretap:
    """A relay to the simulator that records all traffic."""

    base_url: str
    heard: bytearray = field(default_factory=bytearray)
    connected: anyio.Event = field(default_factory=anyio.Event)
    """Set by the first connection."""
    _gate: anyio.Event | None = None

    def hold(self) -> anyio.Event:
        """Hold further connections until the returned event is set."""
        self._gate = anyio.Event()
        return self._gate

    async def admit(self) -> None:
        """Note a connection, and wait while connections are held."""
        self.connected.set()
        if self._gate is not None:
            await self._gate.wait()

    @property
    def posts(self) -> int:
        """Return the number of calls. The vault makes only POST requests."""
        return self.heard.count(b"POST ")

    def secrets(self) -> list[str]:
        """Return every token, key and session id in the traffic."""
        found = re.findall(rb'"(sessionToken|secretKey|sessionId)":\s*"([^"]+)"', bytes(self.heard))
        assert {name for name, _ in found} == {b"sessionToken", b"secretKey", b"sessionId"}
        return [value.decode() for _, value in found]


@asynccontextmanager
async def wiretap(target: Simulator) -> AsyncIterator[Wiretap]:
    address = urlsplit(target.base_url)
    tap = Wiretap("")

    async def relay(source: ByteStream, sink: ByteStream) -> None:
        async for chunk in source:
            tap.heard.extend(chunk)
            await sink.send(chunk)
        await sink.send_eof()

    async def connect(near: ByteStream) -> None:
        await tap.admit()
        assert address.hostname is not None
        assert address.port is not None
        async with (
            await anyio.connect_tcp(address.hostname, address.port) as far,
            anyio.create_task_group() as tg,
        ):
            tg.start_soon(relay, near, far)
            tg.start_soon(relay, far, near)

    async with serve_connections(connect) as port:
        tap.base_url = f"http://127.0.0.1:{port}{address.path}"
        yield tap

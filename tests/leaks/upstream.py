"""A hostile Partner API: the simulator behind a proxy that adds secrets wherever a program might copy them.

To the server it is the API of its partner key. Its responses are the simulator's with

- *stray* secrets in unknown fields at every depth, field names, headers, reason phrases, error texts and codes, hints
(`next`) and fault bodies; none of these may appear in any output;
- *shown* secrets in texts that the tools pass on (merchant names, reasons, labels, open enums); these must be masked;
- *own* secrets where the API has them: session tokens, the session and key of a card's secrets, number and code.

The *own* secrets are canaries too. They replace the simulator's, so that the scanner knows them in advance.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.leaks.canaries import Canaries, Canary
from tests.leaks.encodings import ENCODINGS, WRITINGS, Encode

BASE_PATH = "/partner/v1"
SHOWN_WORD = "Zanzibar"
"""Part of every displayed text. Its arrival proves that such texts reach the output."""

_TEMPTING = (
    "pan", "cvc", "cardNumber", "sessionToken", "secretKey", "token", "ssn", "nationalId", "debug", "raw", "trace",
    "metadata", "internal", "_links", "note", "message", "error", "detail", "label", "memo", "reason", "text", "value",
)  # fmt: skip
_SECRETS_SCOPE = "cards.secrets.read"
_STATUSES = (400, 401, 403, 404, 409, 410, 418, 422, 429, 500, 502, 503, 504)


@dataclass
class Behavior:
    """The shares (0 to 1) of responses with faults, of texts with foreign secrets and of texts with the server's own.

    `identity` is the share of texts that repeat what the user submitted to the identity check. `fault` names a single
    kind of fault for all responses.
    """

    faults: float = 0.0
    fault: str = ""
    shown: float = 0.3
    echo: float = 0.0
    identity: float = 0.05
    strays: bool = True


@dataclass(frozen=True)
class ProxiedRequest:
    """One request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path.removeprefix(BASE_PATH)


@dataclass
class ProxyUpstream:
    """The proxy. `requests` counts by user; `targets` holds every requested path and query."""

    canaries: Canaries
    simulator_url: str
    simulator_key: str
    seed: int
    mood: Behavior = field(default_factory=Behavior)
    port: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    placed: Counter[str] = field(default_factory=Counter)
    reveals: int = 0
    targets: bytearray = field(default_factory=bytearray)
    calm: set[str] = field(default_factory=set)
    """Users whose requests get no faults."""
    _agreements: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)  # noqa: S311
        address = urlsplit(self.simulator_url)
        self._simulator = address.hostname or "", address.port or 0
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._tokens: dict[str, tuple[str, str]] = {}
        self._secret_sessions: dict[str, str] = {}
        self._open: set[asyncio.StreamWriter] = set()
        self._submitted: dict[str, dict[str, Canary]] = {}
        self._faults = [fault for fault in _FAULTS if self.mood.fault in ("", fault.__name__.strip("_"))]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}{BASE_PATH}"

    # Connections.

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection of the server."""
        self._open.add(writer)
        try:
            with suppress(asyncio.IncompleteReadError, OSError, _HangUp):
                while True:
                    writer.write(await self._answer(await _read_request(reader)))
                    await writer.drain()
        finally:
            self._open.discard(writer)
            await closed(writer)

    async def close(self) -> None:
        """Close all connections."""
        for writer in (*self._open, *(far for _, far in self._idle)):
            await closed(writer)

    async def forward(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Return the simulator's response."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._simulator[0]}:{self._simulator[1]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()] + [f"Content-Length: {len(body)}", "", ""]
        message = "\r\n".join(lines).encode("latin-1", "replace") + body
        while self._idle:
            reader, writer = self._idle.pop()
            # An idle connection may have been closed.
            with suppress(asyncio.IncompleteReadError, OSError):
                return await self._exchange(reader, writer, message)
            await closed(writer)
        reader, writer = await asyncio.open_connection(*self._simulator)
        return await self._exchange(reader, writer, message)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes
    ) -> tuple[int, bytes]:
        writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = _headers(head)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self._idle.append((reader, writer))
        return int(head.split(" ", 2)[1]), body

    async def control(self, path: str, **fields: Any) -> dict[str, Any]:
        """Call the simulator's control API."""
        body = json.dumps(fields).encode()
        _, answer = await self.forward("POST", "/control" + path, {"Content-Type": "application/json"}, body)
        found: dict[str, Any] = json.loads(answer)
        return found

    # Requests.

    async def _answer(self, asked: ProxiedRequest) -> bytes:
        self.targets += asked.target.encode("latin-1", "replace") + b"\n"
        given = _object(asked.body)
        user = self._user(asked, given)
        self.requests[user] += 1
        spared = user in self.calm or self._rng.random() >= self.mood.faults
        fault = None if spared else self._rng.choice(self._faults)
        if fault is not None:
            self.faults[fault.__name__.strip("_")] += 1
            # Half of the faults occur after the request took effect.
            if self._rng.random() < 0.5:
                await self._done(asked, given)
            return fault(self)
        status, body = await self._done(asked, given)
        if asked.method == "POST" and asked.path == "/kyc/applications":
            sent = {c.name: c for c in self.canaries.identity.values() if c.value.encode() in asked.body}
            self._submitted.setdefault(user, {}).update(sent)
        document = _object(body)
        if document is not None:
            self._exchange_secrets(asked, given or {}, user, document)
            self._inject(asked, document, tuple(self._submitted.get(user, {}).values()))
            # Use both spellings where they exist, for strict and lenient parsers.
            body = json.dumps(document, ensure_ascii=self._rng.random() < 0.5).encode()
        return self._response(status, body)

    def _user(self, asked: ProxiedRequest, given: dict[str, Any] | None) -> str:
        bearer = asked.headers.get("authorization", "").removeprefix("Bearer ")
        return self._tokens[bearer][1] if bearer in self._tokens else str((given or {}).get("userId", "?"))

    async def _done(self, asked: ProxiedRequest, given: dict[str, Any] | None) -> tuple[int, bytes]:
        passed = ("content-type", "idempotency-key")
        headers: dict[str, str] = {name: asked.headers[name] for name in passed if name in asked.headers}
        if asked.headers.get("x-partner-key") == self.canaries.partner_key:
            headers["x-partner-key"] = self.simulator_key
        bearer = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if bearer:
            headers["authorization"] = "Bearer " + self._tokens.get(bearer, (bearer, ""))[0]
        body = asked.body
        if asked.path.endswith("/secrets") and given is not None:
            known = self._secret_sessions.get(str(given.get("sessionId")), "none")
            body = json.dumps({**given, "sessionId": known}).encode()
        return await self.forward(asked.method, asked.target, headers, body)

    def _exchange_secrets(
        self, asked: ProxiedRequest, given: dict[str, Any], user: str, document: dict[str, Any]
    ) -> None:
        """Replace the simulator's secrets by the run's canaries."""
        data = document.get("data")
        if not isinstance(data, dict):
            return
        for card in [data, *(data.get("cards") or [])]:
            if "last4" in card:
                card["last4"] = self.canaries.last4
        if "sessionToken" in data:
            secret = _SECRETS_SCOPE in given.get("scopes", ())
            core = self.canaries.card_session_token if secret else self.canaries.session_token
            token = f"{core}{len(self._tokens):06d}"
            self._tokens[token] = data["sessionToken"], user
            data["sessionToken"] = token
        if "secretKey" in data:
            session = f"{self.canaries.card_session_id}{len(self._secret_sessions):06d}"
            self._secret_sessions[session] = data["sessionId"]
            data |= {"sessionId": session, "secretKey": self.canaries.secret_key}
        if "encryptedPan" in data:
            self.reveals += 1
            data |= {"encryptedPan": self._sealed(self.canaries.pan), "encryptedCvc": self._sealed(self.canaries.cvc)}

    def _sealed(self, clear: str) -> dict[str, str]:
        iv = self._rng.randbytes(12)
        sealed = AESGCM(bytes.fromhex(self.canaries.secret_key)).encrypt(iv, clear.encode(), None)
        return {"data": base64.b64encode(sealed).decode(), "iv": base64.b64encode(iv).decode()}

    # Injected secrets.

    def stray(self) -> str:
        """Return a secret that does not belong where it is put, plain or encoded."""
        return self._written(self._rng.choice(self.canaries.stray), ENCODINGS)

    def name(self) -> str:
        """Return a secret as a field name."""
        return self._rng.choice(self.canaries.stray).core

    def _written(self, canary: Canary, ways: dict[str, Encode]) -> str:
        self.placed[canary.name] += 1
        way = self._rng.choice(tuple(ways)) if self._rng.random() < 0.3 or canary.origin == "shown" else "plain"
        return ways[way](canary.sample).decode("utf-8", "replace").replace("\0", "")

    def text(self, limit: int = 40, repeated: Sequence[Canary] = ()) -> str:
        """Return a text that a tool passes on.

        Some contain a foreign number, a secret of the server's own, or what the user submitted. A tool cuts texts
        longer than `limit`, and some are so long that the cut goes through the secret.
        """
        chance = self._rng.random()
        if chance < self.mood.echo:
            return self._at_the_cut(self._echo(), limit)
        if chance < self.mood.echo + self.mood.shown:
            return self._at_the_cut(f"{self._number()} Ltd", limit)
        if repeated and chance < self.mood.echo + self.mood.shown + self.mood.identity:
            canary = self._rng.choice(repeated)
            self.placed[canary.name + " repeated"] += 1
            return f"{SHOWN_WORD} {canary.value}, with thanks"
        return f"{SHOWN_WORD} & Söhne"

    def _number(self) -> str:
        """Return a foreign card number or social security number, in some writing."""
        canary = self._rng.choice(self.canaries.shown)
        return self._written(canary, WRITINGS if canary.kind != "ssn" else {"plain": str.encode})

    def _at_the_cut(self, text: str, limit: int) -> str:
        """Return the text after a word, in half of the cases so far behind it that the end is cut off."""
        fill = ""
        if self._rng.random() < 0.5:
            fill = "x" * (limit - len(SHOWN_WORD) - 3 - self._rng.randrange(len(text) // 2, len(text) + 1))
        return f"{SHOWN_WORD} {fill} {text}"

    def _echo(self) -> str:
        known = [canary for canary in self.canaries.own if canary.kind in ("partner key", "session token", "pan")]
        canary = self._rng.choice(known)
        self.placed[canary.name + " echoed"] += 1
        if canary.kind == "pan":
            return self._written(canary, WRITINGS)
        value = canary.value
        if canary.kind == "session token":
            value = self._rng.choice([token for token in self._tokens if token.startswith(value)] or [value])
        return f"Echo {ENCODINGS[self._rng.choice(ECHOED)](value).decode()}"

    def _inject(self, asked: ProxiedRequest, document: dict[str, Any], repeated: Sequence[Canary]) -> None:
        data = document.get("data")
        if isinstance(data, dict):
            _each(data, partial(self._set_displayed_texts, repeated=repeated))
            if asked.path == "/kyc/status" and self._rng.random() < 0.5:
                # Percent encoding only: no filter can find what a provider hides in its own link.
                about = self._rng.choice(repeated).value if repeated and self._rng.random() < 0.5 else SHOWN_WORD
                link = f"https://verify.example.com/?about={quote(about)}&lang=en"
                data |= {"status": "needs_verification", "completionLink": link}
            if asked.path == "/transactions" and isinstance(data.get("transactions"), list):
                data["transactions"] += [self._transaction(repeated) for _ in range(2)]
                if self._rng.random() < 0.05:
                    data["nextCursor"] = self.canaries.shown[0].value
        if not self.mood.strays:
            return
        document["summary"] = self.stray()
        for error in document.get("errors") or []:
            error["message"] = f"{error.get('message')}: {self.stray()}"
        polled = (document.get("next") or {}).get("pollAfterMs")
        document["next"] = {"suggestedTool": self.stray(), "suggestedArgs": {"a": self.stray()}, "why": self.stray()}
        if polled is not None:
            document["next"]["pollAfterMs"] = polled
        _each(document, self._add_unknown_fields)

    def _add_unknown_fields(self, found: dict[str, Any]) -> None:
        """Add unknown fields, some deep, some with a secret as their name."""
        for name in self._rng.sample(_TEMPTING, 2):
            found.setdefault(name, self.stray())
        found.setdefault("_" + self._rng.choice(_TEMPTING), {"deep": [{"deeper": {"deepest": self.stray()}}]})
        if self._rng.random() < 0.5:
            found[self.name()] = self._rng.choice([True, None, 7, "x"])

    def _set_displayed_texts(self, found: dict[str, Any], repeated: Sequence[Canary]) -> None:
        """Put foreign texts in the fields that tools display."""
        text = partial(self.text, repeated=repeated)
        for name, limit in (("reason", 300), ("brand", 20), ("label", 80), ("description", 50)):
            if isinstance(found.get(name), str) and "url" not in found:
                found[name] = text(limit)
        if "isTermsOfServiceAccepted" in found:
            found["reason"] = self._about_the_check(repeated)
        if isinstance(found.get("text"), str) and "links" in found:
            # The same in each response: an agreement that has changed since the question can't be accepted.
            if found["text"] not in self._agreements:
                self._agreements[found["text"]] = self.text(4000)
            found["text"] = f"{self._agreements[found['text']]} {found['text']}"
        if isinstance(found.get("frequency"), str) and self._rng.random() < 0.2:
            found["frequency"] = text()
        if isinstance(found.get("value"), str):
            found["value"] = text(60)

    def _about_the_check(self, repeated: Sequence[Canary]) -> str:
        """Return what the provider says of an identity check: often what the person submitted, in any encoding."""
        if not repeated or self._rng.random() < 0.3:
            return self.text(300)
        return f"{SHOWN_WORD} {self._written(self._rng.choice(repeated), ENCODINGS)} could not be verified"

    def _transaction(self, repeated: Sequence[Canary]) -> dict[str, Any]:
        text = partial(self.text, repeated=repeated)
        status = text() if self._rng.random() < 0.3 else "posted"
        kind = text() if self._rng.random() < 0.3 else "spend"
        ids = (f"txn-{self._rng.randrange(10**9)}", self.canaries.shown[0].value)
        return {
            "transactionId": ids[self._rng.random() < 0.1],
            "type": kind,
            "status": status,
            "amountCents": self._rng.randrange(1, 10**6),
            "currency": "USD",
            "createdAt": "2026-01-02T03:04:05Z",
            "merchantName": text(120),
        }

    # Response bytes.

    def _response(self, status: int, body: bytes, *more: str, kind: str = "application/json") -> bytes:
        lines = [f"HTTP/1.1 {status} OK", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more]
        if self.mood.strays:
            lines[0] = f"HTTP/1.1 {status} {_header_safe(self.stray())}"
            names = ("X-Debug", "X-Request-Id", "Set-Cookie", "Server", "ETag", "X-Card", "Link")
            lines += [f"{name}: {_header_safe(self.stray())}" for name in self._rng.sample(names, 3)]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _error_body(self, code: str | None = None) -> bytes:
        lower = self._rng.choice([c.core for c in self.canaries.stray if c.core.isalpha() and c.core.islower()])
        code = code or self._rng.choice(["invalid_state", "kyc_required", lower, self.stray()])
        error = {"code": code, "message": self.stray(), "field": self._rng.choice([lower, self.stray(), "currency"])}
        document = {"ok": False, "summary": self.stray(), "errors": [error, self.stray(), {"x": self.stray()}]}
        _each(document, self._add_unknown_fields)
        return json.dumps(document).encode()


class _HangUp(Exception):
    pass


def _status(upstream: ProxyUpstream) -> bytes:
    status = upstream._rng.choice(_STATUSES)
    more = [f"Retry-After: {upstream._rng.choice(['0', '1', _header_safe(upstream.stray())])}"]
    return upstream._response(status, upstream._error_body(), *more)


def _html(upstream: ProxyUpstream) -> bytes:
    page = f"<html><title>{upstream.stray()}</title><pre>{upstream.stray()}</pre></html>".encode()
    return upstream._response(upstream._rng.choice([200, 502]), page, kind="text/html")


def _redirect(upstream: ProxyUpstream) -> bytes:
    where = f"Location: http://127.0.0.1:9/?token={_header_safe(upstream.stray())}"
    return upstream._response(upstream._rng.choice([301, 302, 307, 308]), upstream._error_body(), where)


def _not_ok(upstream: ProxyUpstream) -> bytes:
    return upstream._response(200, upstream._error_body())


def _half(upstream: ProxyUpstream) -> bytes:
    body = json.dumps({"ok": True, "data": {"a": upstream.stray()}}).encode()
    return upstream._response(200, body[: len(body) - 3])


def _odd_json(upstream: ProxyUpstream) -> bytes:
    stray = json.dumps(upstream.stray())
    bodies = (
        f'{{"ok": true, "data": {{"a": {stray}, "a": {stray}}}}}',
        f'{{"ok": true, "data": {{"a": NaN, "b": {stray}}}}}',
        '{"ok": true, "data": ' + "[" * 200 + stray + "]" * 200 + "}",
        f'{{"ok": true, "data": {{"a": "\\ud800", "b": {stray}}}}}',
        f'{{"ok": true, "data": {stray}}}',
        f"[{stray}]",
        stray,
        "",
    )
    return upstream._response(200, upstream._rng.choice(bodies).encode())


def _wrong_types(upstream: ProxyUpstream) -> bytes:
    names = (
        "cardId",
        "status",
        "id",
        "sessionToken",
        "userId",
        "kycStatus",
        "fields",
        "agreements",
        "deposits",
        "last4",
    )
    # Never a plain string, which a text field would accept and display.
    data: dict[str, Any] = {name: upstream._rng.choice([[upstream.stray()], {"a": upstream.stray()}]) for name in names}
    data |= {"cards": [upstream.stray()], "assets": {upstream.name(): 1}, "expiresAt": upstream.stray()}
    data |= {"transactions": [{"amountCents": upstream.stray()}], "spendingPower": upstream.stray()}
    return upstream._response(200, json.dumps({"ok": True, "data": data}).encode())


def _compressed(upstream: ProxyUpstream) -> bytes:
    return upstream._response(200, gzip.compress(upstream._error_body()), "Content-Encoding: gzip")


def _bad_header(upstream: ProxyUpstream) -> bytes:
    return upstream._response(200, b"{}", f"No colon {_header_safe(upstream.stray())}")


def _bad_status(upstream: ProxyUpstream) -> bytes:
    return f"HTTP/1.1 abc {_header_safe(upstream.stray())}\r\n\r\n".encode()


def _bad_chunk(upstream: ProxyUpstream) -> bytes:
    stray = _header_safe(upstream.stray())
    return f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{stray}\r\n{stray}".encode()


def _drop(upstream: ProxyUpstream) -> bytes:
    raise _HangUp


_FAULTS: tuple[Callable[[ProxyUpstream], bytes], ...] = (
    *(_status, _status, _status, _not_ok, _html, _redirect, _half, _odd_json, _wrong_types),
    *(_compressed, _bad_header, _bad_status, _bad_chunk, _drop),
)
# Displayed texts are cleaned and truncated, which destroys some encodings. The rest is no longer a secret.
ECHOED = (
    "plain", "upper case", "\\u escapes", "\\x escapes", "percent, every byte", "HTML, decimal", "hexadecimal",
    "hexadecimal, capitals", "hexadecimal, colons", "base64", "base64, one later", "base64, two later",
    "base64 for URLs", "base32", "reversed", "rot13", "groups of four", "groups of four, dashes", "full width",
)  # fmt: skip


@asynccontextmanager
async def upstream(made: ProxyUpstream) -> AsyncIterator[ProxyUpstream]:
    """Serve the proxy until the block ends."""
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.close()
        await asyncio.sleep(0)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever the peer has done."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> ProxiedRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    headers = _headers(head)
    method, target, _ = head.split(" ", 2)
    return ProxiedRequest(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def _headers(head: str) -> dict[str, str]:
    lines = (line.partition(":") for line in head.split("\r\n")[1:] if line)
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _header_safe(value: str) -> str:
    return "".join(c if " " <= c <= "~" else " " for c in value)[:400]


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _each(value: Any, visit: Callable[[dict[str, Any]], None]) -> None:
    """Visit every object in a document, inner ones first, and up to eight items of each list."""
    if isinstance(value, dict):
        for member in list(value.values()):
            _each(member, visit)
        visit(value)
    elif isinstance(value, list):
        for member in value[:8]:
            _each(member, visit)

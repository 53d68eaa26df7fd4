"""One request, before it is sent and on its way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from machines_mcp.redaction.secret import Secret

if TYPE_CHECKING:
    from machines_mcp.partner.envelope import Reply
    from machines_mcp.partner.errors import PartnerError

_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,8192}")


@dataclass(frozen=True, slots=True)
class Credential:
    """One header with a secret in it: `X-Partner-Key`, or `Authorization` with the prefix `Bearer `."""

    header: str
    secret: Secret
    prefix: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """What to ask: `path` below the base URL, with `ids` by name (`/cards/{cardId}`); the rest as it goes out, checked.

    `effect`: it may change something that matters, so while its answer is out the outcome is open.
    `repeatable`: asking twice does no harm, so it may be retried. `keep_body`: the body holds no identity data, so that
    a log of mutations may keep it. `on_sent` is told each time that all of it went out.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    effect: bool = False
    repeatable: bool = False
    ids: Mapping[str, str] = field(default_factory=dict)
    keep_body: bool = False
    on_sent: Callable[[], None] | None = None

    @property
    def content(self) -> bytes | None:
        """The body as it goes out; the same for each attempt."""
        body = self.body
        return None if body is None else json.dumps(body, allow_nan=False, separators=(",", ":")).encode()

    @property
    def target(self) -> str:
        """The path with its ids."""
        return self.path.format_map(self.ids)

    @classmethod
    def get(cls, path: str, query: Mapping[str, str] | None = None, *, ids: Mapping[str, str] | None = None) -> Request:
        """A read, which may be retried."""
        return cls("GET", path, query=query or {}, repeatable=True, ids=ids or {})

    @classmethod
    def ask(cls, path: str, body: Mapping[str, Any], *, ids: Mapping[str, str] | None = None) -> Request:
        """A POST that only reads: nothing of its outcome can be in doubt."""
        return cls("POST", path, body=body, ids=ids or {})

    @classmethod
    def change(
        cls,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        ids: Mapping[str, str] | None = None,
        keep_body: bool = False,
    ) -> Request:
        """A mutation."""
        return cls(
            method,
            path,
            body=body,
            idempotency_key=idempotency_key,
            effect=True,
            ids=ids or {},
            keep_body=keep_body,
        )


class Attempt:
    """A request as bytes and headers, whether any of it has gone out, and what came back for the last try."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.sent = False
        self.status: int | None = None
        self.reply: Reply | None = None
        self.earlier: PartnerError | None = None
        """How the try before ended; or the first that may have had its effect, where one did."""
        self.content = request.content

    @property
    def outcome_known(self) -> bool:
        """False once a mutation may have reached the API."""
        return not (self.request.effect and (self.sent or self.in_doubt is not None))

    @property
    def in_doubt(self) -> PartnerError | None:
        """The end of an earlier try that may have had its effect, whatever becomes of the later ones."""
        return None if self.earlier is None or self.earlier.outcome_known else self.earlier

    def failed(self, error: PartnerError) -> None:
        """One try is over and another will follow, of which nothing is sent yet."""
        self.sent = False
        self.earlier = self.in_doubt or error

    def headers(self, credential: Credential) -> dict[str, str]:
        """The headers of this request alone."""
        headers = {credential.header: credential.prefix + credential.secret.expose()}
        if self.content is not None:
            headers["Content-Type"] = "application/json"
        if self.request.idempotency_key is not None:
            headers["Idempotency-Key"] = self.request.idempotency_key
        return headers

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """httpx's trace hook: notes the moment before the first byte, and tells of the one after the last."""
        # A proxy's CONNECT is a request too, but not ours yet.
        if event == "http11.send_request_headers.started" and info["request"].method != b"CONNECT":
            self.sent = True
        elif event == "http11.send_request_body.complete" and self.sent and self.request.on_sent is not None:
            self.request.on_sent()


def is_header_safe(secret: Secret) -> bool:
    """Whether a secret can stand in a header: 1 to 8192 visible ASCII characters, so no blank and no line end."""
    return _HEADER_SAFE.fullmatch(secret.expose()) is not None

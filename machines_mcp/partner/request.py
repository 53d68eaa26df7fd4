"""A request, and the state of its attempts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from machines_mcp.redaction.secret import Secret

if TYPE_CHECKING:
    from machines_mcp.partner.envelope import HttpResponse
    from machines_mcp.partner.errors import PartnerError

_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,8192}")


@dataclass(frozen=True, slots=True)
class Credential:
    """A header with a secret: `X-Partner-Key`, or `Authorization` with the prefix `Bearer `."""

    header: str
    secret: Secret
    prefix: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """A validated request. `path` is relative to the base URL and names its `ids` (`/cards/{cardId}`).

    `mutates`: it may change something, so its outcome is unknown until the response arrives. `repeatable`: sending it
    twice is harmless, so it may be retried. `keep_body`: the body has no identity data, so a mutation log may store it.
    `on_sent`: called each time the whole request has been sent.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    mutates: bool = False
    repeatable: bool = False
    ids: Mapping[str, str] = field(default_factory=dict)
    keep_body: bool = False
    on_sent: Callable[[], None] | None = None

    @property
    def content(self) -> bytes | None:
        """The body as sent, identical in every attempt."""
        body = self.body
        return None if body is None else json.dumps(body, allow_nan=False, separators=(",", ":")).encode()

    @property
    def target(self) -> str:
        """The path with its ids filled in."""
        return self.path.format_map(self.ids)

    @classmethod
    def get(cls, path: str, query: Mapping[str, str] | None = None, *, ids: Mapping[str, str] | None = None) -> Request:
        """Create a read, which may be retried."""
        return cls("GET", path, query=query or {}, repeatable=True, ids=ids or {})

    @classmethod
    def read_by_post(cls, path: str, body: Mapping[str, Any], *, ids: Mapping[str, str] | None = None) -> Request:
        """Create a POST that only reads, so its outcome is never unknown."""
        return cls("POST", path, body=body, ids=ids or {})

    @classmethod
    def mutation(
        cls,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        ids: Mapping[str, str] | None = None,
        keep_body: bool = False,
    ) -> Request:
        """Create a mutation."""
        return cls(
            method,
            path,
            body=body,
            idempotency_key=idempotency_key,
            mutates=True,
            ids=ids or {},
            keep_body=keep_body,
        )


class Attempt:
    """A request in transit: its body, whether any of it was sent, and the response to the last attempt."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.sent = False
        self.status: int | None = None
        self.response: HttpResponse | None = None
        self.earlier: PartnerError | None = None
        """The error of the previous attempt, or of the first one that may have taken effect."""
        self.content = request.content

    @property
    def outcome_known(self) -> bool:
        """False once a mutation may have reached the API."""
        return not (self.request.mutates and (self.sent or self.unknown_outcome is not None))

    @property
    def unknown_outcome(self) -> PartnerError | None:
        """The error of an earlier attempt that may have taken effect, whatever happens to later ones."""
        return None if self.earlier is None or self.earlier.outcome_known else self.earlier

    def record_failure(self, error: PartnerError) -> None:
        """Record a failed attempt before the next one, of which nothing is sent yet."""
        self.sent = False
        self.earlier = self.unknown_outcome or error

    def headers(self, credential: Credential) -> dict[str, str]:
        """Return the headers specific to this request, including the credential."""
        headers = {credential.header: credential.prefix + credential.secret.expose()}
        if self.content is not None:
            headers["Content-Type"] = "application/json"
        if self.request.idempotency_key is not None:
            headers["Idempotency-Key"] = self.request.idempotency_key
        return headers

    async def on_trace_event(self, event: str, info: Mapping[str, Any]) -> None:
        """Handle httpx's trace events: set `sent` before the first byte, call `on_sent` after the last."""
        # Ignore a proxy's CONNECT, which is sent before our own request.
        if event == "http11.send_request_headers.started" and info["request"].method != b"CONNECT":
            self.sent = True
        elif event == "http11.send_request_body.complete" and self.sent and self.request.on_sent is not None:
            self.request.on_sent()


def is_header_safe(secret: Secret) -> bool:
    """Whether a secret fits in a header: 1 to 8192 visible ASCII characters, without spaces or line breaks."""
    return _HEADER_SAFE.fullmatch(secret.expose()) is not None

"""A request, and the credential it is sent with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from machines_mcp.redaction.secret import Secret

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
    `seen`: what the response must repeat although it is not requested; never sent.
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
    seen: Mapping[str, Any] = field(default_factory=dict)
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
        seen: Mapping[str, Any] | None = None,
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
            seen=seen or {},
        )


def is_header_safe(secret: Secret) -> bool:
    """Whether a secret fits in a header: 1 to 8192 visible ASCII characters, without spaces or line breaks."""
    return _HEADER_SAFE.fullmatch(secret.expose()) is not None

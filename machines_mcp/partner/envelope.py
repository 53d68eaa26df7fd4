"""Decode a response body into its data or an error. Upstream's summaries and error messages are discarded."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from machines_mcp.partner.errors import (
    ApiError,
    Conflict,
    Forbidden,
    InvalidRequest,
    InvalidState,
    KycRequired,
    Malformed,
    NotFound,
    PartnerError,
    RateLimited,
    Redirected,
    Rejected,
    ServerError,
    Unauthorized,
    safe_field,
    safe_name,
)

MAX_DEPTH = 64
# A nested list takes two bytes on the wire and a hundred times as many in memory, more if it fails validation.
MAX_VALUES = 100_000
# The most that Python converts without being asked to.
_MAX_DIGITS = 4300
# Legal as a JSON escape, but can't be encoded as UTF-8.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: InvalidRequest,
    429: RateLimited,
}


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete HTTP response. `retry_after` is in seconds."""

    status: int
    body: bytes
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Envelope:
    """The parts of a successful response that the client uses. `next` is not validated."""

    data: dict[str, Any]
    next: object
    status: int = 200


def parse_envelope(response: HttpResponse, *, mutates: bool) -> Envelope:
    """Return the envelope of a successful response. `mutates`: whether the request could change something.

    Raises:
        Malformed: A 2xx that is not `{ok: true, data: {...}}`, or not strict JSON (UTF-8, no duplicate keys, at most 64
            levels and 100,000 values). A number that can't be read is a `NoNumber`.
        Redirected: Any 3xx.
        ApiError: Any other status, or `ok: false`.
    """
    document = parse_body(response.body)
    successful = 200 <= response.status < 300
    if successful and document is not None and isinstance(document.get("data"), dict) and document.get("ok") is True:
        return Envelope(document["data"], document.get("next"), response.status)
    if successful and (document is None or document.get("ok") is not False):
        raise Malformed(status=response.status, outcome_known=not mutates)
    if response.status < 400 and not successful:
        raise Redirected(status=response.status, outcome_known=not mutates)
    raise _error(response, document or {}, mutates=mutates)


def _error(response: HttpResponse, document: dict[str, Any], *, mutates: bool) -> PartnerError:
    items = _error_items(document)
    first = items[0] if items else {}
    return _error_class(response.status, document, items)(
        code=safe_name(first.get("code")),
        status=response.status,
        field=safe_field(first.get("field")),
        # A gateway may return 502 or 504 while the request is still running behind it.
        outcome_known=response.status < 500 or not mutates,
        retry_after=response.retry_after,
    )


def _error_class(status: int, document: dict[str, Any], items: Sequence[dict[str, Any]]) -> type[ApiError]:
    if status >= 500:
        return ServerError
    kind = _BY_STATUS.get(status, Rejected)
    if kind is not Conflict:
        return kind
    codes = {item.get("code") for item in items if isinstance(item.get("code"), str)}
    # The API's code for this case is not documented, so its message decides. The message is not kept.
    texts = [document.get("summary"), *(item.get("message") for item in items)]
    if "kyc_required" in codes or any(isinstance(text, str) and "kyc required" in text.lower() for text in texts):
        return KycRequired
    return InvalidState if "invalid_state" in codes else Conflict


def _error_items(document: dict[str, Any]) -> list[dict[str, Any]]:
    errors = document.get("errors")
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


class NoNumber:
    """What stands for a number that can't be read (NaN, Infinity, 1e400, 5,000 digits): it fits no field.

    So it costs the field that has it, and not the response, which may be that of a change.
    """


def parse_body(body: bytes) -> dict[str, Any] | None:
    """Parse a body as an object, or return None if it is not strict JSON as defined in `parse_envelope`."""
    # This also counts characters inside strings, but no sensible string has 100,000 of them.
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        return None
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=lambda _: NoNumber(),
            parse_float=_finite,
            parse_int=_integer,
        )
    except (ValueError, RecursionError):
        # The exception contains the whole body, so it must not propagate.
        return None
    return document if isinstance(document, dict) and _is_within_limits(document) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        raise ValueError("a key stands twice")
    return parsed


def _finite(text: str) -> float | NoNumber:
    value = float(text)
    return value if math.isfinite(value) else NoNumber()


def _integer(text: str) -> int | NoNumber:
    return int(text) if len(text) <= _MAX_DIGITS else NoNumber()


def _is_within_limits(document: dict[str, Any]) -> bool:
    level: list[dict[str, Any] | list[Any]] = [document]
    for _ in range(MAX_DEPTH):
        below: list[dict[str, Any] | list[Any]] = []
        for container in level:
            for value in _child_values(container):
                if isinstance(value, dict | list):
                    below.append(value)
                elif isinstance(value, str) and _LONE_SURROGATE.search(value):
                    return False
        if not below:
            return True
        level = below
    return False


def _child_values(container: dict[str, Any] | list[Any]) -> Iterator[Any]:
    return chain(container, container.values()) if isinstance(container, dict) else iter(container)

"""Base class of the resources, and checks of path ids and idempotency keys."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from machines_mcp.partner.authenticated import AuthenticatedTransport
from machines_mcp.partner.models.base import refuse_value
from machines_mcp.partner.vocabulary import RECORD_ID

_RECORD_ID = re.compile(RECORD_ID)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{8,128}")


@dataclass(frozen=True)
class Resource:
    """A group of endpoints."""

    _transport: AuthenticatedTransport


def path_id(value: str, field: str) -> str:
    """Return an id that is safe in a path: 8 to 128 of letters, digits, `._~-`. Raises `InvalidRequest` for `field`."""
    return value if _RECORD_ID.fullmatch(value) else refuse_value(field)


def idempotency_key_or_new(value: str | None) -> str:
    """Return an idempotency key of 8 to 128 visible characters; None creates one. Raises `InvalidRequest`."""
    if value is None:
        return uuid.uuid4().hex
    return value if _IDEMPOTENCY_KEY.fullmatch(value) else refuse_value("idempotency_key")

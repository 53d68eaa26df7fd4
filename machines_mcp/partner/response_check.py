"""Refuse responses that are about something other than their request."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from machines_mcp.partner.binding import Binding
from machines_mcp.partner.endpoint_bindings import BINDINGS
from machines_mcp.partner.envelope import Envelope
from machines_mcp.partner.errors import Mismatch
from machines_mcp.partner.request import Request

# Called with the endpoint and the field of a response that does not fit its request.
OnMismatch = Callable[[str, str], None]

MAX_CARDS = 4096
_LAST4 = re.compile(r"[0-9]{4}")
_NONE = Binding()


class ResponseCheck:
    """The checks of one client's responses. `on_mismatch` is called before the error is raised."""

    def __init__(self, on_mismatch: OnMismatch | None = None) -> None:
        self._on_mismatch = on_mismatch
        self._cards: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        """What earlier responses said about a user's cards, by user, card and field; the oldest are forgotten."""

    def check(self, request: Request, envelope: Envelope, user_id: str | None = None) -> None:
        """Compare a successful response with its request.

        Raises:
            Mismatch: They differ. The outcome of a mutation is unknown.
        """
        endpoint = f"{request.method} {request.path}"
        binding = BINDINGS.get(endpoint, _NONE)
        field = binding.difference(request, envelope.data) or self._contradiction(binding, envelope.data, user_id)
        if field is None:
            return
        if self._on_mismatch is not None:
            # The response must be refused even if nobody can be told.
            with suppress(Exception):
                self._on_mismatch(endpoint, field)
        raise Mismatch(status=envelope.status, outcome_known=not request.mutates)

    def _contradiction(self, binding: Binding, data: Mapping[str, Any], user_id: str | None) -> str | None:
        """Return the field that an earlier response about the same card gave otherwise. The newest value is kept."""
        card_id, found = data.get("cardId"), None
        for name in binding.stable:
            value = data.get(name)
            if not (isinstance(card_id, str) and isinstance(value, str) and _LAST4.fullmatch(value)):
                continue
            key = (user_id or "", card_id, name)
            found = name if self._cards.pop(key, value) != value else found
            self._cards[key] = value
            if len(self._cards) > MAX_CARDS:
                self._cards.popitem(last=False)
        return found

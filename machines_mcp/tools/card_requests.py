"""The requests of the journal that create or change a card, and what a card has of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from machines_mcp.storage.journal import JournalEntry

if TYPE_CHECKING:
    from machines_mcp.partner import Card, ListedCard


def requested(entry: JournalEntry) -> Mapping[str, Any]:
    """Return the body of the request."""
    return dict(json.loads(entry.body or "{}"))


def has_requested_values(card: Card, entry: JournalEntry) -> bool:
    """Whether the card has the values that a `PATCH` requested."""
    body = requested(entry)
    return (
        ("status" not in body or card.status == body["status"])
        and ("limit" not in body or card_limit(card) == body["limit"])
        and ("encryptedName" not in body or has_name(card, body))
    )


def card_limit(card: ListedCard) -> dict[str, Any] | None:
    """Return the card's limit as requests have it; None if it has none."""
    limit = card.limit
    return None if limit is None else {"amountCents": limit.amount_cents, "frequency": limit.frequency}


def has_name(card: ListedCard, body: Mapping[str, Any]) -> bool:
    """Whether the card has the encrypted label of a request's body."""
    asked, name = body["encryptedName"], card.encrypted_name
    return name is not None and (name.iv, name.ct) == (asked["iv"], asked["ct"])


def was_set(card: ListedCard, name: Literal["limit", "status"], changes: Sequence[JournalEntry]) -> bool:
    """Whether one of the changes requested the limit or status that the card has."""
    value = card_limit(card) if name == "limit" else card.status
    mine = [requested(change) for change in changes if change.ids.get("cardId") == card.card_id]
    return value is not None and any(body.get(name) == value for body in mine)

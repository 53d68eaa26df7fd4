"""Virtual cards (steps 12 to 14)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from machines_mcp.partner.models.base import refuse_value
from machines_mcp.partner.models.cards import (
    Card,
    CardDeleted,
    CardLimit,
    CardPage,
    CardQuery,
    CardSecrets,
    CreateCardBody,
    SecretsSession,
    UpdateCardBody,
)
from machines_mcp.partner.models.encryption import EncryptedField, SealedLabel
from machines_mcp.partner.request import Request, is_header_safe
from machines_mcp.partner.resources.base import Resource, idempotency_key_or_new, path_id
from machines_mcp.partner.resources.encryption import sealed
from machines_mcp.partner.scopes import CARD_SECRETS_READ, CARDS_READ, CARDS_WRITE
from machines_mcp.partner.vocabulary import CardStatus
from machines_mcp.redaction.secret import Secret

_CARD = "/cards/{cardId}"


class Cards(Resource):
    """`/cards`. Methods raise `PartnerError` and subclasses. `InvalidRequest` before sending names the field.

    Reads need `cards.read`, changes `cards.write`, secrets `cards.secrets.read`. Card ids have 8 to 128 characters.
    """

    async def create(
        self,
        user_id: str,
        *,
        encrypted_name: EncryptedField | None = None,
        limit: CardLimit | None = None,
        idempotency_key: str | None = None,
    ) -> Card:
        """Create a card: `POST /cards`. The key has 8 to 128 characters and is generated if None.

        Raises:
            InvalidState: The agreements are not accepted.
            PartnerError: `outcome_known` is False if a card may have been created.
        """
        name, key = _sealed(encrypted_name), idempotency_key_or_new(idempotency_key)
        order = CreateCardBody(encrypted_name=name, limit=limit)
        request = Request.mutation("POST", "/cards", order.to_json(), idempotency_key=key, keep_body=True)
        return await self._transport.call(user_id, CARDS_WRITE, request, Card)

    async def list(self, user_id: str, *, cursor: str | None = None, limit: int | None = None) -> CardPage:
        """Return a page of 1 to 100 of the user's cards: `GET /cards`. `cursor` is `next_cursor` of the page before."""
        request = Request.get("/cards", CardQuery(cursor=cursor, limit=limit).to_query())
        return await self._transport.call(user_id, CARDS_READ, request, CardPage)

    async def get(self, user_id: str, card_id: str) -> Card:
        """Return one card: `GET /cards/{cardId}`. Raises `NotFound`."""
        return await self._transport.call(user_id, CARDS_READ, Request.get(_CARD, ids=_ids(card_id)), Card)

    async def update(
        self,
        user_id: str,
        card_id: str,
        *,
        status: CardStatus | None = None,
        limit: CardLimit | None = None,
        encrypted_name: EncryptedField | None = None,
        encrypted_color: EncryptedField | None = None,
        encrypted_emoji: EncryptedField | None = None,
        encrypted_memo: EncryptedField | None = None,
        seen: Card | None = None,
    ) -> Card:
        """Change only the given fields: `PATCH /cards/{cardId}`. Status `locked` locks the card, `active` unlocks it.

        `seen`: the card before. Unless they are changed, the response must have the same limit, and no status that lets
        the card spend more.

        Raises:
            InvalidRequest: No change is given (`field` is `status`), or a value is invalid.
            NotFound, Conflict: The card is unknown. Or it is closed or can't be changed this way.
        """
        change = UpdateCardBody(
            status=status,
            limit=limit,
            encrypted_name=_sealed(encrypted_name),
            encrypted_color=_sealed(encrypted_color),
            encrypted_emoji=_sealed(encrypted_emoji),
            encrypted_memo=_sealed(encrypted_memo),
        ).to_json()
        if not change:
            refuse_value("status")
        request = Request.mutation("PATCH", _CARD, change, ids=_ids(card_id), keep_body=True, seen=_seen(seen, change))
        return await self._transport.call(user_id, CARDS_WRITE, request, Card)

    async def delete(self, user_id: str, card_id: str) -> CardDeleted:
        """Close a card permanently: `DELETE /cards/{cardId}`. Raises `NotFound`."""
        request = Request.mutation("DELETE", _CARD, ids=_ids(card_id))
        return await self._transport.call(user_id, CARDS_WRITE, request, CardDeleted)

    async def secrets_session(self, user_id: str) -> SecretsSession:
        """Create a session and key for card secrets: `POST /cards/secrets/session`.

        Raises:
            ScopeRefused: The client was created without `card_secrets`; nothing was sent.
        """
        request = Request.read_by_post("/cards/secrets/session", {})
        return await self._transport.call(user_id, CARD_SECRETS_READ, request, SecretsSession)

    async def secrets(self, user_id: str, card_id: str, session_id: Secret) -> CardSecrets:
        """Return a card's number and CVC, encrypted: `POST /cards/{cardId}/secrets`.

        Raises:
            ScopeRefused: The client was created without `card_secrets`; nothing was sent.
            NotFound: The card is unknown.
        """
        if not is_header_safe(session_id):
            refuse_value("session_id")
        request = Request.read_by_post(f"{_CARD}/secrets", {"sessionId": session_id.expose()}, ids=_ids(card_id))
        return await self._transport.call(user_id, CARD_SECRETS_READ, request, CardSecrets)


def _ids(card_id: str) -> dict[str, str]:
    return {"cardId": path_id(card_id, "card_id")}


def _seen(card: Card | None, change: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the response must repeat of a card: its limit and status, unless changed or unreadable."""
    seen: dict[str, Any] = {}
    if card is None:
        return seen
    if "limit" not in change and "limit" not in card.odd:
        limit = card.limit
        seen |= {"unlimited": True} if limit is None else {"limit": limit.model_dump(by_alias=True)}
    # No other status lets a card spend more than `active`.
    if "status" not in change and card.status != "active":
        seen["status"] = card.status
    return seen


def _sealed(field: EncryptedField | None) -> SealedLabel | None:
    return None if field is None else sealed(field)

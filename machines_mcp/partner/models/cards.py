"""Virtual cards."""

from __future__ import annotations

from pydantic import Field

from machines_mcp.partner.models.base import RequestModel, ResponseModel, documented
from machines_mcp.partner.models.encryption import EncryptedField, SealedLabel
from machines_mcp.partner.models.types import (
    Cursor,
    Flag,
    Last4,
    LimitCents,
    Moment,
    Month,
    Number,
    OwnId,
    PageCursor,
    PageSize,
    PositiveWhole,
    RecordId,
    Rows,
    Whole,
    Year,
)
from machines_mcp.partner.vocabulary import CardStatus, LimitFrequency
from machines_mcp.redaction.secret import Secret


class CardLimitSet(ResponseModel):
    """A card's spending limit as the API returns it, in US cents per `frequency`."""

    amount_cents: LimitCents
    frequency: LimitFrequency | str


class ListedCard(ResponseModel):
    """A card in a list, without its number. Documented fields may be absent: one odd card must not hide the others."""

    card_id: RecordId | None = documented()
    status: CardStatus | str | None = documented()
    last4: Last4 | None = documented()
    expiration_month: Month | None = documented()
    expiration_year: Year | None = documented()
    encrypted_name: EncryptedField | None = None
    is_pinned: Flag = False
    sort_order: Number = 0.0
    created_at: Moment | None = None
    brand: str | None = None
    limit: CardLimitSet | None = None
    encrypted_color: EncryptedField | None = None
    encrypted_emoji: EncryptedField | None = None
    encrypted_memo: EncryptedField | None = None
    folder_id: OwnId | None = None
    contract_id: OwnId | None = None


class Card(ListedCard):
    """A card that was asked for or changed, so that its id is known."""

    card_id: RecordId


class CardPage(ResponseModel):
    """A page of a user's cards. `next_cursor` is None on the last page."""

    cards: Rows[ListedCard]
    next_cursor: PageCursor | None = None


class CardDeleted(ResponseModel):
    """A card that was permanently closed."""

    card_id: RecordId
    status: CardStatus | str | None = documented()
    deleted_at: Moment | None = None


class SecretsSession(ResponseModel):
    """A session for card secrets. `secret_key` (16 bytes in hex) decrypts those fetched with `session_id`."""

    session_id: Secret
    secret_key: Secret


class Sealed(ResponseModel):
    """An encrypted field: `data` (ciphertext, then a 16-byte tag) and `iv`, both in standard base64."""

    data: str = Field(repr=False)
    iv: str = Field(repr=False)


class CardSecrets(ResponseModel):
    """A card's number and CVC, encrypted."""

    encrypted_pan: Sealed
    encrypted_cvc: Sealed
    expiration_month: Whole
    expiration_year: Whole
    last4: str | None = None
    brand: str | None = None
    key_id: str | None = None


class CardLimit(RequestModel):
    """A spending limit of 1 or more US cents per `frequency`."""

    amount_cents: PositiveWhole
    frequency: LimitFrequency


class CreateCardBody(RequestModel):
    """Body of `POST /cards`."""

    encrypted_name: SealedLabel | None = None
    limit: CardLimit | None = None


class UpdateCardBody(CreateCardBody):
    """Body of `PATCH /cards/{cardId}`."""

    status: CardStatus | None = None
    encrypted_color: SealedLabel | None = None
    encrypted_emoji: SealedLabel | None = None
    encrypted_memo: SealedLabel | None = None


class CardQuery(RequestModel):
    """Query of `GET /cards`."""

    cursor: Cursor | None = None
    limit: PageSize | None = None

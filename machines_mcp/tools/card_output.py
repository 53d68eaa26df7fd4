"""Output models for cards. They have no field for the number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from machines_mcp.partner.errors import PartnerError
from machines_mcp.protocol.tool import NextStepOutput, Output, OutputPart
from machines_mcp.redaction.display import dollars
from machines_mcp.redaction.verbatim import Verbatim, VerbatimArgument
from machines_mcp.tools.services import ServiceContext, next_step
from machines_mcp.tools.text import clean, status_label

if TYPE_CHECKING:
    from machines_mcp.partner import Card, PartnerClient


CardId = Annotated[
    Verbatim,
    VerbatimArgument(min_length=8, max_length=120, pattern=r"^[A-Za-z0-9_-]+$"),
    Field(description="From list_cards", examples=["a card_id from list_cards"]),
]


class CardOutput(OutputPart):
    card_id: Verbatim
    status: str
    brand: str | None = None
    last4: str = Field(pattern=r"^\d{4}$")
    expiration_month: int
    expiration_year: int
    label: str | None = None
    limit_amount_cents: int | None = None
    limit_frequency: str | None = None


class CardResult(Output, CardOutput):
    def summary(self) -> str:
        limit = self.limit_amount_cents
        limited = "" if limit is None else f" and a limit of {dollars(limit)}"
        return f"The card ending {self.last4} has the status {status_label(self.status)}{limited}."


class CardClosed(Output):
    card_id: Verbatim
    status: str

    def summary(self) -> str:
        return "The card is closed."


def created_result(call: ServiceContext, card: Card, label: str | None) -> CardResult:
    """Build the result of `create_card`."""
    steps = [next_step(call, "reveal_card", "Check that the card's details can be shown.", card_id=card.card_id)]
    return CardResult(**card_fields(card, label), next_steps=steps)


def updated_result(call: ServiceContext, card: Card, label: str | None) -> CardResult:
    """Build the result of `update_card`."""
    if card.status == "active":
        steps = [next_step(call, "reveal_card", "Check that the card's details can be shown.", card_id=card.card_id)]
    else:
        steps = [next_step(call, "list_transactions", "See what was spent with this card.", card_id=card.card_id)]
    if card.status == "locked":
        steps.extend(locked_steps(call, card.card_id))
    return CardResult(**card_fields(card, label), next_steps=steps)


def locked_steps(call: ServiceContext, card_id: Verbatim) -> list[NextStepOutput]:
    """Return what can be done about a locked card. The user must choose, so the first step is no complete call."""
    return [
        next_step(call, "update_card", "Ask the user: unlock it with status active if it was found.", card_id=card_id),
        next_step(call, "close_card", "Close it if it is lost. That can't be undone.", card_id=card_id),
    ]


def closed_result(call: ServiceContext, card_id: Verbatim, status: str) -> CardClosed:
    """Build the result of `close_card`."""
    steps = [next_step(call, "list_cards", "See the remaining cards.")]
    return CardClosed(card_id=card_id, status=clean(status, 40), next_steps=steps)


async def decrypted_label(client: PartnerClient, user_id: str, card: Card) -> str | None:
    """Decrypt the card's label; return None if it has none or it can't be decrypted."""
    if card.encrypted_name is None:
        return None
    try:
        return clean(await client.encryption.decrypt(user_id, card.encrypted_name), 60)
    except PartnerError:
        # An unreadable label is no reason to hide the card.
        return None


def card_fields(card: Card, label: str | None) -> dict[str, Any]:
    """Return the fields of a `CardOutput`."""
    return {
        "card_id": card.card_id,
        "status": clean(card.status, 40),
        "brand": clean(card.brand, 20) if card.brand else None,
        "last4": card.last4,
        "expiration_month": card.expiration_month,
        "expiration_year": card.expiration_year,
        "label": label,
        "limit_amount_cents": card.limit.amount_cents if card.limit else None,
        "limit_frequency": clean(card.limit.frequency, 40) if card.limit else None,
    }

"""Output models for cards. They have no field for the number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from machines_mcp.partner.vocabulary import RECORD_ID
from machines_mcp.protocol.tool import NextStepOutput, Output, OutputPart
from machines_mcp.redaction.display import dollars
from machines_mcp.redaction.foreign_text import ForeignText
from machines_mcp.redaction.verbatim import Identifier, IdentifierArgument
from machines_mcp.tools.card_labels import CardLabel
from machines_mcp.tools.services import ServiceContext, next_step
from machines_mcp.tools.text import is_status

if TYPE_CHECKING:
    from machines_mcp.partner import Card, ListedCard


PERIOD_NAMES: dict[str, str] = {
    "perAuthorization": "per payment",
    "per24HourPeriod": "per day",
    "per7DayPeriod": "per week",
    "per30DayPeriod": "per 30 days",
    "perYearPeriod": "per year",
    "allTime": "in total",
}

CardId = Annotated[
    Identifier,
    IdentifierArgument(pattern=RECORD_ID),
    Field(description="From list_cards", examples=["a card_id from list_cards"]),
]


class CardOutput(OutputPart):
    card_id: Identifier | None = None
    status: ForeignText | None = None
    brand: ForeignText | None = None
    last4: str | None = Field(default=None, pattern=r"^[0-9]{4}$")
    expiration_month: int | None = None
    expiration_year: int | None = None
    label: ForeignText | None = None
    label_from: str | None = Field(default=None, description="agent or machines")
    """`agent` or `machines`. A plain string, because an enum in four schemas would take more than their budget."""
    limit_amount_cents: int | None = None
    limit_frequency: ForeignText | None = None


class CardResult(Output, CardOutput):
    card_id: Identifier

    def summary(self) -> str:
        cents = self.limit_amount_cents
        limited = "" if cents is None else f", with a limit of {limit_text(cents, self.limit_frequency)}"
        named = f"The card ending {self.last4}" if self.last4 else "The card"
        return f"{named} {is_status(self.status)}{limited}."


class CardClosed(Output):
    card_id: Identifier
    status: ForeignText | None = None

    def summary(self) -> str:
        return "The card is closed."


def created_result(call: ServiceContext, card: Card, label: CardLabel | None) -> CardResult:
    """Build the result of `create_card`."""
    steps = [next_step(call, "reveal_card", "Check that the card's details can be shown.", card_id=card.card_id)]
    return CardResult(**card_fields(card, label), next_steps=steps)


def updated_result(call: ServiceContext, card: Card, label: CardLabel | None) -> CardResult:
    """Build the result of `update_card`."""
    if card.status == "active":
        steps = [next_step(call, "reveal_card", "Check that the card's details can be shown.", card_id=card.card_id)]
    else:
        steps = [next_step(call, "list_transactions", "See what was spent with this card.", card_id=card.card_id)]
    if card.status == "locked":
        steps.extend(locked_steps(call, card.card_id))
    return CardResult(**card_fields(card, label), next_steps=steps)


def locked_steps(call: ServiceContext, card_id: Identifier) -> list[NextStepOutput]:
    """Return what can be done about a locked card. The user must choose, so the first step is no complete call."""
    return [
        next_step(call, "update_card", "Ask the user: unlock it with status active if it was found.", card_id=card_id),
        next_step(call, "close_card", "Close it if it is lost. That can't be undone.", card_id=card_id),
    ]


def closed_result(call: ServiceContext, card_id: Identifier, status: str | None) -> CardClosed:
    """Build the result of `close_card`."""
    steps = [next_step(call, "list_cards", "See the remaining cards.")]
    return CardClosed(card_id=card_id, status=ForeignText.of(status, 40), next_steps=steps)


def limit_text(cents: int, frequency: str | None) -> str:
    """Return a limit in words: `$50.00 per 30 days`."""
    return f"{dollars(cents)} {PERIOD_NAMES.get(frequency or '', 'for an unrecognized period')}"


def card_name(card: Card) -> str:
    """Return words that name the card for a person: its last four digits, or its id if those can't be read."""
    return f"ending {card.last4}" if card.last4 else f"with the id {card.card_id}"


def card_fields(card: ListedCard, label: CardLabel | None) -> dict[str, Any]:
    """Return the fields of a `CardOutput`."""
    return {
        "card_id": card.card_id,
        "status": ForeignText.of(card.status, 40),
        "brand": ForeignText.of(card.brand, 20),
        "last4": card.last4,
        "expiration_month": card.expiration_month,
        "expiration_year": card.expiration_year,
        "label": None if label is None else label.text,
        "label_from": None if label is None else label.author,
        "limit_amount_cents": card.limit.amount_cents if card.limit else None,
        "limit_frequency": ForeignText.of(card.limit.frequency, 40) if card.limit else None,
    }

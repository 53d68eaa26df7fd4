"""Steps 11 and 12, and later changes: cards, their labels, limits and locks. No card numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import anyio
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from machines_mcp import partner
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.protocol.tool import Cents, Output, UserInput, tool
from machines_mcp.redaction.verbatim import Verbatim, VerbatimArgument
from machines_mcp.tools.agreements import need_agreements
from machines_mcp.tools.card_output import (
    CardClosed,
    CardId,
    CardResult,
    CardShown,
    card_fields,
    changed,
    closed,
    created,
    label_of,
)
from machines_mcp.tools.reconcile_cards import reconcile_close, reconcile_create, reconcile_update
from machines_mcp.tools.services import UserCall, next_step, user_fact
from machines_mcp.tools.text import clean, dollars, pluralize, quote_text

if TYPE_CHECKING:
    from machines_mcp.partner import Card, CardLimit


Frequency = Literal[
    "perAuthorization", "per24HourPeriod", "per7DayPeriod", "per30DayPeriod", "perYearPeriod", "allTime"
]
_PER = {
    "perAuthorization": "per payment",
    "per24HourPeriod": "per day",
    "per7DayPeriod": "per week",
    "per30DayPeriod": "per 30 days",
    "perYearPeriod": "per year",
    "allTime": "in total",
}
PageCursor = Annotated[Verbatim, VerbatimArgument(min_length=1, max_length=500)]
Label = Field(default=None, min_length=1, max_length=60, description="Shown to the user; sent encrypted")
LimitAmount = Field(default=None, description="Spending cap; with limit_frequency")
LimitFrequency = Field(default=None, description="Period of the cap")


class LimitInput(UserInput):
    """The arguments of a limit: an amount and a period, or neither."""

    limit_amount_cents: Cents | None = LimitAmount
    limit_frequency: Frequency | None = LimitFrequency

    @model_validator(mode="after")
    def _both_or_neither(self) -> LimitInput:
        if (self.limit_amount_cents is None) != (self.limit_frequency is None):
            raise PydanticCustomError("machines_rule", "limit_amount_cents and limit_frequency go together")
        return self

    def limit(self) -> CardLimit | None:
        """Return the limit in the API's form; None if none is given."""
        if self.limit_amount_cents is None or self.limit_frequency is None:
            return None
        return partner.CardLimit(amount_cents=self.limit_amount_cents, frequency=self.limit_frequency)


class CreateCard(LimitInput):
    label: str | None = Label


class CardOf(UserInput):
    card_id: CardId


class ListCards(UserInput):
    cursor: PageCursor | None = Field(default=None, description="next_cursor of the previous page")
    limit: int = Field(default=20, ge=1, le=100)


class UpdateCard(LimitInput):
    card_id: CardId
    status: Literal["active", "locked"] | None = Field(default=None, description="locked locks, active unlocks")
    label: str | None = Label

    @model_validator(mode="after")
    def _something(self) -> UpdateCard:
        if self.status is None and self.label is None and self.limit_amount_cents is None:
            raise PydanticCustomError("machines_rule", "give at least one of status, label and a limit")
        return self


class CardsShown(Output):
    cards: list[CardShown]
    next_cursor: Verbatim | None = None

    def summary(self) -> str:
        active = sum(card.status == "active" for card in self.cards)
        more = "; more on the next page" if self.next_cursor else ""
        return f"{pluralize(len(self.cards), 'card')}, {active} active{more}."


async def _create_details(call: UserCall, args: CreateCard) -> ApprovalDetails:
    await need_agreements(call)
    label = f" labelled {quote_text(args.label, 60)}" if args.label else ""
    limit = _limit_text(args.limit())
    return ApprovalDetails(
        question=f"Issue a virtual card{label} with {limit} to the user {quote_text(call.user_id, 120)}?",
        items=(user_fact(call), Detail("Limit", limit), *_label_fact(args.label)),
        limits_card=True,
        limit_cents=args.limit_amount_cents,
        limit_frequency=args.limit_frequency,
    )


@tool(
    title="Create a card",
    toolset="cards",
    steps=(11, 12),
    action_class=ActionClass.MONEY,
    approval_details=_create_details,
    reconcile=reconcile_create,
)
async def create_card(call: UserCall, args: CreateCard) -> CardResult:
    """Issue a virtual card with a spending limit the user chose and an optional label. Requires approval and accepted
    agreements. Next: reveal_card."""
    client = await call.services.partner()
    name = await client.encryption.encrypt(call.user_id, args.label) if args.label else None
    card = await client.cards.create(
        call.user_id, encrypted_name=name, limit=args.limit(), idempotency_key=call.idempotency_key
    )
    return created(call, card, clean(args.label, 60) if args.label else None)


@tool(title="List cards", toolset="cards", action_class=ActionClass.READ)
async def list_cards(call: UserCall, args: ListCards) -> CardsShown:
    """List the user's cards with label, last four digits, status and limit."""
    client = await call.services.partner()
    page = await client.cards.list(call.user_id, cursor=args.cursor, limit=args.limit)
    labels: dict[str, str] = {}
    slots = anyio.CapacityLimiter(6)

    async def read(card: Card) -> None:
        async with slots:
            label = await label_of(client, call.user_id, card)
        if label is not None:
            labels[card.card_id] = label

    async with anyio.create_task_group() as tasks:
        for card in page.cards:
            tasks.start_soon(read, card)
    more = page.next_cursor
    if more:
        steps = [next_step(call, "list_cards", "Get the next page.", cursor=more)]
    else:
        usable = any(card.status != "canceled" for card in page.cards)
        steps = [] if usable or args.cursor else [next_step(call, "create_card", "There is no usable card; issue one.")]
    return CardsShown(
        cards=[CardShown(**card_fields(card, labels.get(card.card_id))) for card in page.cards],
        next_cursor=more,
        next_steps=steps,
    )


@tool(title="Get a card", toolset="cards", action_class=ActionClass.READ)
async def get_card(call: UserCall, args: CardOf) -> CardResult:
    """Get one card: label, last four digits, expiry, status and limit, never the number. For the number, use
    reveal_card."""
    client = await call.services.partner()
    card = await client.cards.get(call.user_id, args.card_id)
    steps = []
    if card.status == "active":
        steps.append(next_step(call, "reveal_card", "Check or show its details.", card_id=args.card_id))
    elif card.status == "locked":
        steps.append(next_step(call, "update_card", "Unlock the card.", card_id=args.card_id, status="active"))
    elif card.status == "canceled":
        steps.append(next_step(call, "list_cards", "This card is closed for good; see the others."))
    return CardResult(**card_fields(card, await label_of(client, call.user_id, card)), next_steps=steps)


def _update_effect(args: UpdateCard) -> ActionClass:
    return ActionClass.MONEY if args.status == "active" or args.limit_amount_cents is not None else ActionClass.WRITE


async def _update_details(call: UserCall, args: UpdateCard) -> ApprovalDetails:
    client = await call.services.partner()
    card = await client.cards.get(call.user_id, args.card_id)
    changes = ["unlock it"] if args.status == "active" else ["lock it"] if args.status == "locked" else []
    changes += [f"give it {_limit_text(args.limit())}"] if args.limit_amount_cents is not None else []
    changes += [f"label it {quote_text(args.label, 60)}"] if args.label else []
    last4, change = clean(card.last4, 4), " and ".join(changes)
    return ApprovalDetails(
        question=f"Card ending {last4} of the user {quote_text(call.user_id, 120)}: {change}?",
        items=(user_fact(call), Detail("Card", f"ending {last4}"), Detail("Change", change)),
        limits_card=args.limit_amount_cents is not None,
        limit_cents=args.limit_amount_cents,
        limit_frequency=args.limit_frequency,
        card_id=args.card_id,
    )


@tool(
    title="Update a card",
    toolset="cards",
    action_class=(ActionClass.WRITE, ActionClass.MONEY),
    action_class_of=_update_effect,
    approval_details=_update_details,
    reconcile=reconcile_update,
)
async def update_card(call: UserCall, args: UpdateCard) -> CardResult:
    """Lock, unlock, relabel or set the limit of a card. Use it to lock a lost card. Locking and relabelling happen at
    once; unlocking or setting a limit requires approval."""
    client = await call.services.partner()
    name = await client.encryption.encrypt(call.user_id, args.label) if args.label else None
    card = await client.cards.update(
        call.user_id, args.card_id, status=args.status, limit=args.limit(), encrypted_name=name
    )
    return changed(call, card, await label_of(client, call.user_id, card))


async def _close_details(call: UserCall, args: CardOf) -> ApprovalDetails:
    client = await call.services.partner()
    card = await client.cards.get(call.user_id, args.card_id)
    last4 = clean(card.last4, 4)
    return ApprovalDetails(
        question=f"Permanently close the card ending {last4} of the user {quote_text(call.user_id, 120)}?",
        items=(user_fact(call), Detail("Card", f"ending {last4}", "can't be undone")),
        card_id=args.card_id,
    )


@tool(
    title="Close a card",
    toolset="cards",
    action_class=ActionClass.DESTROY,
    approval_details=_close_details,
    reconcile=reconcile_close,
    destructive=True,
)
async def close_card(call: UserCall, args: CardOf) -> CardClosed:
    """Permanently close a card; this can't be undone. To block it temporarily, lock it with update_card instead.
    Requires approval."""
    client = await call.services.partner()
    gone = await client.cards.delete(call.user_id, args.card_id)
    return closed(call, gone.card_id, gone.status)


def _label_fact(label: str | None) -> tuple[Detail, ...]:
    return (Detail("Label", clean(label, 60)),) if label else ()


def _limit_text(limit: CardLimit | None) -> str:
    return "no limit" if limit is None else f"a limit of {dollars(limit.amount_cents)} {_PER[limit.frequency]}"

"""Arguments of the card tools, and the details that a person sees before approving a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import Field

from machines_mcp import partner
from machines_mcp.partner.vocabulary import CardStatus
from machines_mcp.partner.vocabulary import LimitFrequency as LimitPeriod
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail, seen_digest
from machines_mcp.protocol.errors import Code, FieldError, NextStep, ToolError
from machines_mcp.protocol.tool import WORDS_REFUSED, ApprovedText, Cents, UserInput
from machines_mcp.tools.agreements import require_agreements
from machines_mcp.tools.card_labels import CardLabel, shown_label
from machines_mcp.tools.card_output import PERIOD_NAMES, CardId, card_name, limit_text
from machines_mcp.tools.services import ServiceContext, user_detail
from machines_mcp.tools.text import clean, label_note, status_label

if TYPE_CHECKING:
    from machines_mcp.partner import Card, CardLimit
    from machines_mcp.partner.models.cards import CardLimitSet

Label = Field(
    default=None,
    min_length=1,
    max_length=60,
    description="Card name, sent encrypted",
    json_schema_extra=WORDS_REFUSED,
)

LimitAmount = Field(default=None, description="US cents, 5000 is $50; with limit_frequency")
LimitFrequency = Field(default=None, description="Period of the limit; monthly: per30DayPeriod")


class LimitInput(UserInput):
    """The arguments of a limit: an amount and a period, or neither."""

    limit_amount_cents: Cents | None = LimitAmount
    limit_frequency: LimitPeriod | None = LimitFrequency

    @classmethod
    def broken_rules(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if ("limit_amount_cents" in given) != ("limit_frequency" in given):
            yield "(arguments)", "limit_amount_cents and limit_frequency go together"

    def limit(self) -> CardLimit | None:
        """Return the limit in the API's form; None if none is given."""
        if self.limit_amount_cents is None or self.limit_frequency is None:
            return None
        return partner.CardLimit(amount_cents=self.limit_amount_cents, frequency=self.limit_frequency)


class CreateCard(LimitInput):
    label: ApprovedText | None = Label


class CardInput(UserInput):
    card_id: CardId


class UpdateCard(LimitInput):
    card_id: CardId
    status: Literal["active", "locked"] | None = Field(default=None, description="locked locks, active unlocks")
    label: ApprovedText | None = Label

    @classmethod
    def broken_rules(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from super().broken_rules(given)
        if not given.keys() & {"status", "label", "limit_amount_cents", "limit_frequency"}:
            yield "(arguments)", "give at least one of status, label and a limit"


async def create_details(call: ServiceContext, args: CreateCard) -> ApprovalDetails:
    """Describe the card to issue."""
    await require_agreements(call)
    return ApprovalDetails(
        question=f"Issue a virtual card with {_with(args.limit())}?",
        items=(user_detail(call), Detail("Limit", _limit_text(args.limit())), *_label_rows(call, None, args.label)),
        limits_card=True,
        limit_cents=args.limit_amount_cents,
        limit_frequency=args.limit_frequency,
    )


def update_class(args: UpdateCard) -> ActionClass:
    """Return MONEY if the update lets the card spend more: an unlock or a limit."""
    return ActionClass.MONEY if args.status == "active" or args.limit_amount_cents is not None else ActionClass.WRITE


def only_locks(args: UpdateCard) -> bool:
    """Return whether the update locks the card and changes nothing else."""
    return args.status == "locked" and args.label is None and args.limit_amount_cents is None


def locks(args: UpdateCard) -> bool:
    """Return whether the update locks the card."""
    return args.status == "locked"


async def update_details(call: ServiceContext, args: UpdateCard) -> ApprovalDetails:
    """Describe the card before and after the update. What it may spend afterwards counts for the limits."""
    client = await call.services.partner.client(call.logged_as)
    card = await client.cards.get(call.user_id, args.card_id)
    if not only_locks(args):
        require_open(card)
        _require_change(args, card)
    spends_more, limit = update_class(args) is ActionClass.MONEY, args.limit() or card.limit
    known = limit is not None and limit.frequency in PERIOD_NAMES
    return ApprovalDetails(
        question=f"The {_plain_name(card)}: {_changes(args, card)}?",
        items=(
            user_detail(call),
            card_detail(card),
            _change("Status", _status_text(card), args.status),
            _change("Limit", _current_limit(card), _limit_text(args.limit()) if args.limit() else None),
            *_label_rows(call, await shown_label(call, client, card), args.label),
        ),
        limits_card=spends_more,
        limit_cents=limit.amount_cents if limit is not None and known else None,
        limit_frequency=limit.frequency if limit is not None and known else None,
        card_id=args.card_id,
        seen=None if only_locks(args) else seen_card(card),
        seen_status=seen_status(card) if args.status is None else None,
    )


def seen_card(card: Card) -> str:
    """Return the digest of what a person sees of a card that an update does more to than lock it."""
    return seen_digest(card_name(card), _current_limit(card))


def seen_status(card: Card) -> str | None:
    """Return the card's status as a word that this server knows, or `other`; None if it can't be read."""
    return card.status if card.status is None or card.status in get_args(CardStatus) else "other"


async def close_details(call: ServiceContext, args: CardInput) -> ApprovalDetails:
    """Describe the card to close, which is looked up."""
    card, rows = await card_rows(call, args)
    require_open(card)
    return ApprovalDetails(
        question=f"Permanently close the {_plain_name(card)}?",
        items=(user_detail(call), replace(card_detail(card), note="can't be undone"), *rows),
        card_id=args.card_id,
        seen=seen_digest(card_name(card)) if card.last4 else None,
    )


def card_detail(card: Card) -> Detail:
    """Return the row that names the card: by its last four digits, or by its id."""
    return Detail("Card", card_name(card), by=None if card.last4 else "machines")


def _plain_name(card: Card) -> str:
    """Return the card's name for the question, where no text of Machines may stand."""
    return f"card ending {card.last4}" if card.last4 else "card below"


def require_open(card: Card) -> None:
    """Refuse a call about a closed card, which nothing can reopen.

    Raises:
        ToolError: `input.invalid`.
    """
    if card.status == "canceled":
        step = NextStep("list_cards", "See which cards are open.")
        fault = FieldError("card_id", "must name an open card; this one is closed for good")
        raise ToolError(Code.INPUT_INVALID, fields=[fault], next_steps=[step])


def _require_change(args: UpdateCard, card: Card) -> None:
    """Refuse an update after which the card would be as it is.

    Raises:
        ToolError: `input.invalid`.
    """
    limit, changes = args.limit(), dict[str, bool]()
    if args.status is not None:
        changes["status"] = args.status != card.status
    if limit is not None:
        changes["limit_amount_cents"] = _limit_text(limit) != _current_limit(card)
    if args.label is None and not any(changes.values()):
        found = [FieldError(name, "is what the card has already") for name in changes]
        raise ToolError(Code.INPUT_INVALID, fields=found, next_steps=[NextStep("list_cards", "See the card.")])


async def card_rows(call: ServiceContext, args: CardInput) -> tuple[Card, tuple[Detail, ...]]:
    """Look up the card. Return it, and rows with its status, limit and label."""
    client = await call.services.partner.client(call.logged_as)
    card = await client.cards.get(call.user_id, args.card_id)
    label = await shown_label(call, client, card)
    state = (Detail("Status", _status_text(card)), Detail("Limit", _current_limit(card)))
    return card, state + _label_rows(call, label, None)


def _changes(args: UpdateCard, card: Card) -> str:
    """Return what the update does, in words, with the limit whenever the card can spend more afterwards."""
    # What the card has already is named, too: it is sent, and the card may be another by then.
    limit, found = args.limit(), []
    changed = limit is not None and _limit_text(limit) != _current_limit(card)
    if args.status == "active":
        unlock = "keep it unlocked" if card.status == "active" else "unlock it"
        found.append(unlock if changed else f"{unlock} with {_current_limit(card, _with(card.limit))}")
    if args.status == "locked":
        found.append("keep it locked" if card.status == "locked" else "lock it")
    if changed:
        found.append(f"change its limit from {_current_limit(card)} to {_limit_text(limit)}")
    elif limit is not None and args.status != "active":
        found.append(f"keep its limit of {_limit_text(limit)}")
    if args.label:
        found.append("change its label")
    return " and ".join(found)


def _status_text(card: Card) -> str:
    return status_label(card.status) if card.status else "can't be read"


def _current_limit(card: Card, text: str | None = None) -> str:
    return "a limit that can't be read" if "limit" in card.odd else text or _limit_text(card.limit)


def _label_rows(call: ServiceContext, before: CardLabel | None, after: str | None) -> tuple[Detail, ...]:
    text = call.services.state.shown_text(call.user_id, before.text, 60) if before else None
    # Nothing in an argument needs a mask, so it is shown as it is sent.
    after = clean(after, 60) if after else None
    if not text:
        return (Detail("Label", after, label_note(after), by="agent"),) if after else ()
    row = replace(_change("Label", text, after), note=label_note(after or text))
    author = before.author if before else None
    return (replace(row, by=author if row.before is None else "agent", before_by=author if row.before else None),)


def _change(name: str, before: str, after: str | None) -> Detail:
    return Detail(name, before) if after in (None, before) else Detail(name, f"{before} → {after}", before=before)


def _with(limit: CardLimit | CardLimitSet | None) -> str:
    return "no limit" if limit is None else f"a limit of {_limit_text(limit)}"


def _limit_text(limit: CardLimit | CardLimitSet | None) -> str:
    return "no limit" if limit is None else limit_text(limit.amount_cents, limit.frequency)

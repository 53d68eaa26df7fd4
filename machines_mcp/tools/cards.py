"""Steps 11 and 12, and later changes: cards, their labels, limits and locks. No card numbers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from machines_mcp.partner.errors import PartnerError
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol.tool import Output, UserInput, tool
from machines_mcp.redaction.foreign_text import ForeignText
from machines_mcp.tools.card_approvals import (
    CardInput,
    CreateCard,
    UpdateCard,
    close_details,
    create_details,
    locks,
    only_locks,
    update_class,
    update_details,
)
from machines_mcp.tools.card_labels import MOST, CardLabel, decrypted_label, shown_label, with_authors
from machines_mcp.tools.card_output import (
    CardClosed,
    CardOutput,
    CardResult,
    card_fields,
    closed_result,
    created_result,
    locked_steps,
    updated_result,
)
from machines_mcp.tools.lists import Cursor, Incomplete, NextCursor, PageSize, rest_of_list
from machines_mcp.tools.reconcile_card_changes import reconcile_close, reconcile_update
from machines_mcp.tools.reconcile_cards import reconcile_create
from machines_mcp.tools.services import ServiceContext, next_step
from machines_mcp.tools.text import pluralize

if TYPE_CHECKING:
    from machines_mcp.partner import ListedCard

READ_SECONDS = 2.0
"""How long a lock waits for the card's status from before."""


class ListCards(UserInput):
    cursor: Cursor | None = None
    limit: PageSize = 20


class CardListOutput(Output):
    cards: list[CardOutput]
    next_cursor: NextCursor = None
    incomplete: Incomplete = None

    def summary(self) -> str:
        active = sum(card.status == "active" for card in self.cards)
        more = rest_of_list(self.next_cursor, self.incomplete)
        return f"{pluralize(len(self.cards), 'card')}, {active} active{more}."


@tool(
    title="Create a card",
    toolset="cards",
    steps=(11, 12),
    action_class=ActionClass.MONEY,
    approval_details=create_details,
    described=("user_id", "limit_amount_cents", "limit_frequency", "label"),
    reconcile=reconcile_create,
    idempotent=False,
    makes="card",
)
async def create_card(call: ServiceContext, args: CreateCard) -> CardResult:
    """Create a virtual card with an optional label and a spending limit the user chose; without both limit arguments,
    no limit. Requires approval and accepted agreements. Next: reveal_card."""
    limit, client = args.limit(), await call.services.partner.client(call.logged_as)
    name = await client.encryption.encrypt(call.user_id, args.label) if args.label else None
    card = await client.cards.create(
        call.user_id, encrypted_name=name, limit=limit, idempotency_key=call.idempotency_key
    )
    label = CardLabel(ForeignText(args.label, MOST), "agent") if args.label else None
    return created_result(call, card, label)


@tool(title="List cards", toolset="cards", action_class=ActionClass.READ, idempotent=True)
async def list_cards(call: ServiceContext, args: ListCards) -> CardListOutput:
    """List the user's cards with label, last four digits, status and limit. For one, use get_card."""
    client = await call.services.partner.client(call.logged_as)
    page = await client.cards.list(call.user_id, cursor=args.cursor, limit=args.limit)
    texts: list[ForeignText | None] = [None] * len(page.cards)
    slots = anyio.CapacityLimiter(6)

    async def read(row: int, card: ListedCard) -> None:
        async with slots:
            texts[row] = await decrypted_label(call, client, card)

    async with anyio.create_task_group() as tasks:
        for row, card in enumerate(page.cards):
            tasks.start_soon(read, row, card)
    labels = await with_authors(call, list(zip(page.cards, texts, strict=True)))
    more, incomplete = page.next_cursor, "next_cursor" in page.odd or None
    if more:
        steps = [next_step(call, "list_cards", "Get the next page.", cursor=more)]
    else:
        usable = any(card.status != "canceled" for card in page.cards)
        steps = (
            []
            if usable or args.cursor or incomplete
            else [next_step(call, "create_card", "There is no usable card; issue one.")]
        )
    return CardListOutput(
        cards=[CardOutput(**card_fields(card, label)) for card, label in zip(page.cards, labels, strict=True)],
        next_cursor=more,
        incomplete=incomplete,
        next_steps=steps,
    )


@tool(title="Get a card", toolset="cards", action_class=ActionClass.READ, idempotent=True)
async def get_card(call: ServiceContext, args: CardInput) -> CardResult:
    """Get one card: label, last four digits, expiry, status and limit. For the number, use reveal_card."""
    client = await call.services.partner.client(call.logged_as)
    card = await client.cards.get(call.user_id, args.card_id)
    steps = []
    if card.status == "active":
        steps.append(next_step(call, "reveal_card", "Check or show its details.", card_id=args.card_id))
    elif card.status == "locked":
        steps.extend(locked_steps(call, card.card_id))
    elif card.status == "canceled":
        steps.append(next_step(call, "list_cards", "This card is closed for good; see the others."))
    return CardResult(**card_fields(card, await shown_label(call, client, card)), next_steps=steps)


@tool(
    title="Update a card",
    toolset="cards",
    action_class=(ActionClass.WRITE, ActionClass.MONEY),
    action_class_of=update_class,
    protective=only_locks,
    locks=locks,
    approval_details=update_details,
    described=("user_id", "status", "limit_amount_cents", "limit_frequency", "label"),
    reconcile=reconcile_update,
    idempotent=True,
)
async def update_card(call: ServiceContext, args: UpdateCard) -> CardResult:
    """Update a card: lock (a lost one), unlock, relabel it or set its limit. Unlocking, limits and locks above
    rates.locks_per_hour (see status) require approval."""
    client = await call.services.partner.client(call.logged_as)
    if locks(args):
        client = await call.services.partner.client(replace(call.logged_as, before_status=await _status(call, args)))
    # Locking must not depend on a read. A locked card spends nothing, and unlocking it shows its limit.
    whole = only_locks(args) or (args.status is not None and args.limit() is not None)
    seen = None if whole else await client.cards.get(call.user_id, args.card_id)
    name = await client.encryption.encrypt(call.user_id, args.label) if args.label else None
    card = await client.cards.update(
        call.user_id, args.card_id, status=args.status, limit=args.limit(), encrypted_name=name, seen=seen
    )
    return updated_result(call, card, await shown_label(call, client, card))


async def _status(call: ServiceContext, args: UpdateCard) -> str | None:
    """Return the status of a card that is about to be locked; None if it can't be read soon."""
    with anyio.move_on_after(READ_SECONDS), suppress(PartnerError):
        client = await call.services.partner.client(call.logged_as)
        return (await client.cards.get(call.user_id, args.card_id)).status
    return None


@tool(
    title="Close a card",
    toolset="cards",
    action_class=ActionClass.DESTROY,
    approval_details=close_details,
    described=("user_id",),
    reconcile=reconcile_close,
    idempotent=True,
)
async def close_card(call: ServiceContext, args: CardInput) -> CardClosed:
    """Close a card permanently. To block it temporarily, lock it with update_card. Requires approval."""
    client = await call.services.partner.client(call.logged_as)
    gone = await client.cards.delete(call.user_id, args.card_id)
    return closed_result(call, gone.card_id, gone.status)

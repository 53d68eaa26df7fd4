"""Reconcile a card creation whose response was lost.

A card is matched by its label, whose ciphertext is unique, or else by its limit and the time. The same request is sent
again only if Machines shows no match, which is correct whether or not Machines honours idempotency keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from machines_mcp import partner
from machines_mcp.partner.errors import Conflict, InvalidState, KycRequired, NotFound, PartnerError
from machines_mcp.permissions.approval import Approval
from machines_mcp.protocol.tool import Completed, NeedsPerson, NotExecuted, Reconciliation, RetryLater
from machines_mcp.storage.concurrent_requests import ConcurrentRequests
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.card_labels import shown_label
from machines_mcp.tools.card_output import created_result
from machines_mcp.tools.card_requests import card_limit, has_name, requested, was_set
from machines_mcp.tools.reconcile import (
    MAX_CLOCK_SKEW_SECONDS,
    newest_entry,
    outcome_from_journal,
    time_until_conclusive,
)
from machines_mcp.tools.services import ServiceContext

if TYPE_CHECKING:
    from machines_mcp.partner import ListedCard, PartnerClient


# APIs that honour idempotency keys keep them for a day.
RESEND_SECONDS = 23 * 3600
# The fields by which a card is matched.
_MATCHED = frozenset({"encrypted_name", "limit"})
# Most responses arrive within this time.
_ANSWER_SECONDS = 5.0
_PAGE = 100
_MAX_PAGES = 50
_GONE = "The journal has a card that Machines does not show. Look for it at Machines."
_EQUAL = "An identical request was also interrupted, and Machines shows a card that either may have created."
_ALTERED = "No card matches, but one that was later changed or closed may be the card this request created."
_MANY = "More than one card at Machines matches this request."
_LATE = "No card matches, and it is too late to send the request again."
_BUSY = "No card matches, and Machines may still be processing the request."
_OTHER_LIMIT = "The card that this request created has another limit than the requested one."
_OTHER_CARD = "Machines answered this request with a card that is not the requested one."
_UNREADABLE = "No card matches, and this server can't read all cards that Machines shows."
_REFUSED = "No card matches, and Machines refused the same request when it was sent again."


async def reconcile_create(call: ServiceContext, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """Find the card, or send the request again with the same body and key."""
    from_journal = outcome_from_journal(entries)
    if from_journal is not None:
        return from_journal
    entry, client = newest_entry(entries), await call.services.partner.client(call.logged_as)
    if entry.state == "done" and entry.reference is not None:
        try:
            return await _completed(call, client, await client.cards.get(call.user_id, entry.reference))
        except NotFound:
            return NeedsPerson(_GONE)
    early = time_until_conclusive(call, entry)
    cards, complete = await _all_cards(call, client)
    # After the list: a request that starts later created none of these cards.
    others = await call.services.state.guard.journal.concurrent_requests(entry)
    strangers = [card for card in cards if card.card_id not in others.created]
    found = [card for card in strangers if _is_readable(card) and _matches_entry(card, entry)]
    if found:
        return _ambiguity(entry, others, found) or await _completed(call, client, found[0])
    if early is not None:
        return early
    if not complete or any(not _is_readable(card) and not _is_older(card, entry) for card in strangers):
        return NeedsPerson(_UNREADABLE)
    if entry.reference is not None:
        # Sent again, it could create another such card.
        return NeedsPerson(_OTHER_CARD)
    if _may_be_altered(entry, others, cards):
        return NeedsPerson(_ALTERED)
    if call.services.state.clock() - entry.sent_at > RESEND_SECONDS:
        return NeedsPerson(_LATE)
    return await _resend(call, client, entry)


async def _completed(call: ServiceContext, client: PartnerClient, card: ListedCard) -> Completed:
    found = partner.Card.model_validate(card.model_dump())
    return Completed(created_result(call, found, await shown_label(call, client, card)), found.card_id)


async def _all_cards(call: ServiceContext, client: PartnerClient) -> tuple[list[ListedCard], bool]:
    """Return the user's cards, and whether these are all."""
    found: list[ListedCard] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await client.cards.list(call.user_id, cursor=cursor, limit=_PAGE)
        found += page.cards
        cursor = page.next_cursor
        if cursor is None:
            return found, "next_cursor" not in page.odd
    return found, False


def _is_readable(card: ListedCard) -> bool:
    """Whether the card can be compared with a request."""
    return card.card_id is not None and not card.odd & _MATCHED


def _matches_entry(card: ListedCard, entry: JournalEntry) -> bool:
    body = requested(entry)
    if "encryptedName" in body:
        return has_name(card, body)
    return card.encrypted_name is None and card_limit(card) == body.get("limit") and not _is_older(card, entry)


def _is_older(card: ListedCard, entry: JournalEntry) -> bool:
    return card.created_at is not None and card.created_at.timestamp() < entry.sent_at - MAX_CLOCK_SKEW_SECONDS


def _ambiguity(
    entry: JournalEntry, others: ConcurrentRequests, found: Sequence[ListedCard]
) -> NeedsPerson | RetryLater | None:
    """Return why a match is no result: another limit, several cards, or an identical request that is unresolved too."""
    body = requested(entry)
    if len(found) == 1 and _has_other_limit(found[0], entry, others):
        return NeedsPerson(_OTHER_LIMIT)
    equal = [] if "encryptedName" in body else [other for other in others.unresolved if requested(other) == body]
    if any(other.id in others.in_flight for other in equal):
        return RetryLater(_ANSWER_SECONDS)
    return NeedsPerson(_MANY) if len(found) > 1 else NeedsPerson(_EQUAL) if equal else None


def _has_other_limit(card: ListedCard, entry: JournalEntry, others: ConcurrentRequests) -> bool:
    """Whether a card has another limit than requested, and no later request may have set it."""
    body = requested(entry)
    return "limit" in body and card_limit(card) != body["limit"] and not was_set(card, "limit", others.later_changes)


def _may_be_altered(entry: JournalEntry, others: ConcurrentRequests, cards: Sequence[ListedCard]) -> bool:
    """Whether a card of unknown origin was changed or closed since, so that it may no longer match."""
    known = others.created | {card.card_id for card in cards if _is_older(card, entry)}
    return any(change.ids.get("cardId", "") not in known and _hides_match(change) for change in others.later_changes)


def _hides_match(change: JournalEntry) -> bool:
    closes = change.operation == "DELETE /cards/{cardId}"
    return closes or (change.operation == "PATCH /cards/{cardId}" and not requested(change).keys() <= {"status"})


async def _resend(call: ServiceContext, client: PartnerClient, entry: JournalEntry) -> Reconciliation:
    body = requested(entry)
    name, limit = body.get("encryptedName"), body.get("limit")
    try:
        card = await client.cards.create(
            call.user_id,
            encrypted_name=None if name is None else partner.EncryptedField(**name),
            limit=None
            if limit is None
            else partner.CardLimit(amount_cents=limit["amountCents"], frequency=limit["frequency"]),
            idempotency_key=entry.idempotency_key,
        )
    except PartnerError as error:
        if not error.outcome_known:
            return RetryLater(call.services.state.reconcile_seconds)
        if isinstance(error, Conflict) and not isinstance(error, InvalidState | KycRequired):
            return NeedsPerson(_BUSY)
        return NotExecuted(_REFUSED)
    return await _completed(call, client, card)

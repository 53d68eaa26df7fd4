"""What became of a card that was asked for, changed or closed, and the answer was lost.

A card is found again by its label, whose ciphertext is like no other, or else by its limit and the time; only where
Machines shows none is the same request sent once more, so that it is right whether Machines honours keys or not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from machines_mcp import partner
from machines_mcp.partner.errors import Conflict, InvalidState, KycRequired, NotFound, PartnerError
from machines_mcp.permissions.approval import Approval
from machines_mcp.protocol.tool import Completed, NeedsPerson, NotExecuted, Reconciliation, RetryLater
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.concurrent_requests import ConcurrentRequests
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.card_output import changed, closed, created, label_of
from machines_mcp.tools.reconcile import CLOCKS_DIFFER_SECONDS, known, newest, too_early
from machines_mcp.tools.services import UserCall

if TYPE_CHECKING:
    from machines_mcp.partner import Card, PartnerClient


# Keys are known to be kept for a day by those who keep them at all.
RESEND_SECONDS = 23 * 3600
# Whoever waits for an answer has it by then, mostly.
_ANSWER_SECONDS = 5.0
_PAGE = 100
_MOST_PAGES = 50
_GONE = "The journal has a card that Machines does not show; look for it there."
_EQUAL = "Another request like it was cut short as well, and Machines shows a card that either can have made."
_ALTERED = "Machines shows no such card, but one that was changed or closed since then may have been it."
_MANY = "More than one card at Machines could be this one."
_LATE = "Machines shows no such card, and it is too late to send the request once more."
_BUSY = "Machines shows no such card, and may still be at work on the request for it."
_REFUSED = "Machines shows no such card and refused the same request when it was sent once more."


async def reconcile_create(call: UserCall, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """Find the card, or ask for it once more, with the same body and key."""
    told = known(entries)
    if told is not None:
        return told
    entry, client = newest(entries), await call.services.partner()
    if entry.state == "done" and entry.reference is not None:
        try:
            return await _made(call, client, await client.cards.get(call.user_id, entry.reference))
        except NotFound:
            return NeedsPerson(_GONE)
    early = too_early(call, entry)
    cards = await _all(call, client)
    # After the list: what began since then made none of these.
    others = await call.services.concurrent_requests(entry)
    found = [card for card in cards if card.card_id not in others.created and _is_of(card, entry)]
    if found:
        return _not_told_apart(entry, others, found) or await _made(call, client, found[0])
    if early is not None:
        return early
    if _altered(entry, others, cards):
        return NeedsPerson(_ALTERED)
    if call.services.clock() - entry.sent_at > RESEND_SECONDS:
        return NeedsPerson(_LATE)
    return await _resend(call, client, entry)


async def _made(call: UserCall, client: PartnerClient, card: Card) -> Completed:
    return Completed(created(call, card, await label_of(client, call.user_id, card)), card.card_id)


async def _all(call: UserCall, client: PartnerClient) -> list[Card]:
    found: list[Card] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await client.cards.list(call.user_id, cursor=cursor, limit=_PAGE)
        found += page.cards
        cursor = page.next_cursor
        if cursor is None:
            break
    return found


def _is_of(card: Card, entry: JournalEntry) -> bool:
    body = _body(entry)
    if "encryptedName" in body:
        return _has_name(card, body)
    return card.encrypted_name is None and _limit(card) == body.get("limit") and not _is_old(card, entry)


def _is_old(card: Card, entry: JournalEntry) -> bool:
    return card.created_at is not None and card.created_at.timestamp() < entry.sent_at - CLOCKS_DIFFER_SECONDS


def _not_told_apart(
    entry: JournalEntry, others: ConcurrentRequests, found: Sequence[Card]
) -> NeedsPerson | RetryLater | None:
    """Why none of these can be said to be this request's: it is like another one, of which nobody knows either."""
    body = _body(entry)
    equal = [] if "encryptedName" in body else [other for other in others.unresolved if _body(other) == body]
    if any(other.id in others.in_flight for other in equal):
        return RetryLater(_ANSWER_SECONDS)
    return NeedsPerson(_MANY) if len(found) > 1 else NeedsPerson(_EQUAL) if equal else None


def _altered(entry: JournalEntry, others: ConcurrentRequests, cards: Sequence[Card]) -> bool:
    """Whether a card that nobody is known to have made was changed or closed since: it may look unlike itself now."""
    known = others.created | {card.card_id for card in cards if _is_old(card, entry)}
    return any(change.ids.get("cardId", "") not in known and _disguises(change) for change in others.later_changes)


def _disguises(change: JournalEntry) -> bool:
    closes = change.operation == "DELETE /cards/{cardId}"
    return closes or (change.operation == "PATCH /cards/{cardId}" and not _body(change).keys() <= {"status"})


async def _resend(call: UserCall, client: PartnerClient, entry: JournalEntry) -> Reconciliation:
    body = _body(entry)
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
            return RetryLater(call.services.reconcile_seconds)
        if isinstance(error, Conflict) and not isinstance(error, InvalidState | KycRequired):
            return NeedsPerson(_BUSY)
        return NotExecuted(_REFUSED)
    return await _made(call, client, card)


async def reconcile_update(call: UserCall, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """Compare the card with what was asked."""
    told = known(entries)
    if told is not None:
        return told
    entry, client = newest(entries), await call.services.partner()
    early = too_early(call, entry)
    card = await _read(call, client, entry)
    if card is None:
        return early or NotExecuted("The card is not there any more.")
    if entry.state == "done" or is_as_asked(card, entry):
        return Completed(changed(call, card, await label_of(client, call.user_id, card)), card.card_id)
    return early or NotExecuted("The card is not as it was asked to be.")


async def reconcile_close(call: UserCall, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """See whether the card is still there."""
    told = known(entries)
    if told is not None:
        return told
    entry = newest(entries)
    early = too_early(call, entry)
    card = await _read(call, await call.services.partner(), entry)
    status = "not shown any more" if card is None else card.status
    if entry.state == "done" or card is None or card.status == "canceled":
        return Completed(closed(call, Verbatim(entry.ids["cardId"]), status), entry.ids["cardId"])
    return early or NotExecuted("The card is still open.")


def is_as_asked(card: Card, entry: JournalEntry) -> bool:
    """Whether the card is as a `PATCH` of it asked."""
    body = _body(entry)
    return (
        ("status" not in body or card.status == body["status"])
        and ("limit" not in body or _limit(card) == body["limit"])
        and ("encryptedName" not in body or _has_name(card, body))
    )


async def _read(call: UserCall, client: PartnerClient, entry: JournalEntry) -> Card | None:
    try:
        return await client.cards.get(call.user_id, entry.ids["cardId"])
    except NotFound:
        return None


def _body(entry: JournalEntry) -> Mapping[str, Any]:
    return dict(json.loads(entry.body or "{}"))


def _limit(card: Card) -> dict[str, Any] | None:
    limit = card.limit
    return None if limit is None else {"amountCents": limit.amount_cents, "frequency": limit.frequency}


def _has_name(card: Card, body: Mapping[str, Any]) -> bool:
    asked, name = body["encryptedName"], card.encrypted_name
    return name is not None and (name.iv, name.ct) == (asked["iv"], asked["ct"])

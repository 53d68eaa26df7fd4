"""Reconcile a card's change or closure whose response was lost, or was about something else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from machines_mcp.partner.errors import NotFound
from machines_mcp.partner.same_value import spends_no_more
from machines_mcp.permissions.approval import Approval
from machines_mcp.protocol.tool import Completed, NeedsPerson, NotExecuted, Reconciliation
from machines_mcp.redaction.verbatim import Identifier
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.card_approvals import seen_card, seen_status
from machines_mcp.tools.card_labels import shown_label
from machines_mcp.tools.card_output import closed_result, updated_result
from machines_mcp.tools.card_requests import has_requested_values, requested, was_set
from machines_mcp.tools.reconcile import newest_entry, outcome_from_journal, time_until_conclusive
from machines_mcp.tools.services import ServiceContext

if TYPE_CHECKING:
    from machines_mcp.partner import Card, PartnerClient

_NEITHER = "The card's limit is neither the one that was approved nor the one from before."
_LOOSER = "This server did not request the status that the card has, and with it the card may spend more than before."


async def reconcile_update(call: ServiceContext, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """Check whether the card has the requested values."""
    from_journal = outcome_from_journal(entries)
    if from_journal is not None:
        return from_journal
    entry, client = newest_entry(entries), await call.services.partner.client(call.logged_as)
    early = time_until_conclusive(call, entry)
    card = await _read(call, client, entry)
    if card is None:
        return early or NotExecuted("The card no longer exists.")
    since = approval.started_at or approval.created_at
    changes = await call.services.state.guard.journal.concurrent_changes(entry, since)
    unseen = None if entry.state == "done" else _unseen_value(card, entry, approval, changes)
    if unseen is not None:
        return early or unseen
    if entry.state == "done" or has_requested_values(card, entry):
        return Completed(updated_result(call, card, await shown_label(call, client, card)), card.card_id)
    return early or NotExecuted("The card does not have the requested values.")


def _unseen_value(
    card: Card, entry: JournalEntry, approval: Approval, changes: Sequence[JournalEntry]
) -> NeedsPerson | None:
    """Return why a person must check a value that is neither requested nor the one that a person saw; else None.

    `changes`: the other requests that may have set it.
    """
    status = approval.details.seen_status
    looser = status is not None and not spends_no_more(status, seen_status(card))
    if looser and not was_set(card, "status", changes):
        return NeedsPerson(_LOOSER)
    if approval.details.seen in (None, seen_card(card)):
        return None
    asked, done = "limit" in requested(entry), has_requested_values(card, entry)
    unseen = not done if asked else done and not was_set(card, "limit", changes)
    return NeedsPerson(_NEITHER) if unseen else None


async def reconcile_close(call: ServiceContext, approval: Approval, entries: Sequence[JournalEntry]) -> Reconciliation:
    """Check whether the card is still open."""
    from_journal = outcome_from_journal(entries)
    if from_journal is not None:
        return from_journal
    entry = newest_entry(entries)
    early = time_until_conclusive(call, entry)
    card = await _read(call, await call.services.partner.client(call.logged_as), entry)
    status = "no longer shown" if card is None else card.status
    if entry.state == "done" or card is None or card.status == "canceled":
        return Completed(closed_result(call, Identifier(entry.ids["cardId"]), status), entry.ids["cardId"])
    return early or NotExecuted("The card is still open.")


async def _read(call: ServiceContext, client: PartnerClient, entry: JournalEntry) -> Card | None:
    try:
        return await client.cards.get(call.user_id, entry.ids["cardId"])
    except NotFound:
        return None

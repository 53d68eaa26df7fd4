"""A card's label, and who wrote it: a label is text that a model may have stored, so that another one reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from machines_mcp.partner.errors import PartnerError
from machines_mcp.redaction.foreign_text import ForeignText
from machines_mcp.storage.card_changes import labels_sent
from machines_mcp.tools.services import ServiceContext

if TYPE_CHECKING:
    from machines_mcp.partner import ListedCard, PartnerClient

MOST = 60


@dataclass(frozen=True, slots=True)
class CardLabel:
    """A label. The `author` is the agent if a call of this state folder sent it, else Machines."""

    text: ForeignText
    author: Literal["agent", "machines"]


async def shown_label(call: ServiceContext, client: PartnerClient, card: ListedCard) -> CardLabel | None:
    """Decrypt the card's label; return None if it has none or it can't be decrypted."""
    text = await decrypted_label(call, client, card)
    return (await with_authors(call, [(card, text)]))[0]


async def decrypted_label(call: ServiceContext, client: PartnerClient, card: ListedCard) -> ForeignText | None:
    """Decrypt the text of the card's label; return None if it has none or it can't be decrypted."""
    if card.encrypted_name is None:
        return None
    try:
        return ForeignText.of(await client.encryption.decrypt(call.user_id, card.encrypted_name), MOST)
    except PartnerError:
        # An unreadable label is no reason to hide the card.
        return None


async def with_authors(
    call: ServiceContext, labels: Sequence[tuple[ListedCard, ForeignText | None]]
) -> list[CardLabel | None]:
    """Return the labels of these cards with their authors, None for each card without one."""
    names = {card.encrypted_name.ct for card, text in labels if text is not None and card.encrypted_name is not None}
    store = call.services.state.guard.store
    sent = await store.read(lambda db: labels_sent(db, call.user_id, names)) if names else frozenset()

    def one(card: ListedCard, text: ForeignText | None) -> CardLabel | None:
        if text is None or card.encrypted_name is None:
            return None
        return CardLabel(text, "agent" if card.encrypted_name.ct in sent else "machines")

    return [one(card, text) for card, text in labels]

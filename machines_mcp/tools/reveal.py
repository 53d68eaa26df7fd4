"""Steps 13 to 15: the card's details, fetched and decrypted where neither this process nor the model sees them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from machines_mcp.guard.effect import Effect
from machines_mcp.guard.stakes import Fact, Stakes
from machines_mcp.protocol.refusal import Code, Refusal, Step
from machines_mcp.protocol.tool import Output, tool
from machines_mcp.tools.cards import CardOf
from machines_mcp.tools.services import UserCall, then, user_fact
from machines_mcp.tools.text import clean, quoted


class RevealCard(CardOf):
    sink: Literal["none"] = Field(default="none", description="none: decrypt, verify, show nowhere")


class CardRevealed(Output):
    card_id: str
    status: Literal["verified"]
    shown: Literal["nowhere"]
    brand: str | None = None
    last4: str = Field(pattern=r"^\d{4}$")
    expiration_month: int
    expiration_year: int


_EFFECTS = {"none": Effect.READ}


def _effect(args: RevealCard) -> Effect:
    # What is shown to nobody asks nobody; every other sink is a reveal.
    return _EFFECTS[args.sink]


async def _stakes(call: UserCall, args: RevealCard) -> Stakes:
    client = await call.services.partner()
    card = await client.cards.get(call.user_id, args.card_id)
    last4 = clean(card.last4, 4)
    return Stakes(
        question=f"Show the card ending {last4} of the user {quoted(call.user_id, 120)}?",
        facts=(user_fact(call), Fact("Card", f"ending {last4}")),
        card_id=args.card_id,
        sink=args.sink,
    )


@tool(
    title="Reveal a card",
    toolset="cards",
    steps=(13, 14, 15),
    effect=(Effect.READ, Effect.REVEAL),
    effect_of=_effect,
    stakes=_stakes,
)
async def reveal_card(call: UserCall, args: RevealCard) -> CardRevealed:
    """Have a card's number and CVC fetched, decrypted and verified in a separate process. You get brand, last four
    digits and expiry, never the number: this is intended, do not try to get it otherwise."""
    client = await call.services.partner()
    card = await client.cards.get(call.user_id, args.card_id)
    found = await call.services.reveal(call.user_id, args.card_id, card.last4, args.sink)
    if not found.ok:
        step = Step("list_cards", "See whether the card is still there and active.")
        raise Refusal(Code.REVEAL_FAILED, details={"reason": found.code}, next_steps=[step])
    return CardRevealed(
        card_id=args.card_id,
        status="verified",
        shown="nowhere",
        brand=clean(found.brand, 20) if found.brand else None,
        last4=found.last4 or card.last4,
        expiration_month=found.expiration_month or card.expiration_month,
        expiration_year=found.expiration_year or card.expiration_year,
        next_steps=[then(call, "list_transactions", "See what is spent with it.", card_id=args.card_id)],
    )

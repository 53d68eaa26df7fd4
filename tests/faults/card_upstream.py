"""An upstream that creates and counts cards. The count, not the response, shows what happened."""

from __future__ import annotations

from dataclasses import dataclass, field

from anyio.abc import ByteStream

from tests.support.partner_upstream import Answer, ScriptedUpstream, SeenRequest, good


@dataclass
class CardUpstream:
    """The created cards, in order. `honours`: a repeated key creates no second card."""

    api: ScriptedUpstream
    honours: bool = False
    cards: list[str] = field(default_factory=list)
    _by_key: dict[str, str] = field(default_factory=dict)

    def creating(self, answer: Answer | None = None) -> Answer:
        """Create the card, then send this response, or the card itself if None."""

        async def answer_after(stream: ByteStream) -> None:
            card_id = self._make(self.api.seen[-1])
            await (good(card(card_id)) if answer is None else answer)(stream)

        return answer_after

    def _make(self, seen: SeenRequest) -> str:
        key = seen.headers.get("idempotency-key", "")
        if self.honours and key in self._by_key:
            return self._by_key[key]
        self.cards.append(f"card-{len(self.cards):04}")
        self._by_key[key] = self.cards[-1]
        return self.cards[-1]


def card(card_id: str) -> dict[str, object]:
    """Return a card as the API shows it."""
    return {"cardId": card_id, "status": "active", "last4": "0001", "expirationMonth": 1, "expirationYear": 2030}

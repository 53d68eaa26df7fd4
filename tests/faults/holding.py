"""An upstream that makes cards and keeps count: what it holds, and not what was answered, says what happened."""

from __future__ import annotations

from dataclasses import dataclass, field

from anyio.abc import ByteStream

from tests.partner.upstream import Answer, SeenRequest, Upstream, good


@dataclass
class Holding:
    """The cards that were made, in order. `honours`: a key that was seen before makes no second card."""

    api: Upstream
    honours: bool = False
    cards: list[str] = field(default_factory=list)
    _by_key: dict[str, str] = field(default_factory=dict)

    def making(self, answer: Answer | None = None) -> Answer:
        """The card is made, and then this is answered; None: the card."""

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
    """A card as the API shows it."""
    return {"cardId": card_id, "status": "active", "last4": "0001", "expirationMonth": 1, "expirationYear": 2030}

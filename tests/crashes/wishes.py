"""What users want, each wish once; and what a client was told of it.

Each wish carries a mark, an amount in cents that no wish of another kind or user has: by it the judge finds upstream
what became of it, without a word of the server's. Twins share their mark on purpose, so that a server that tells cards
apart by their limits alone can't.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

Kind = Literal[
    "kyc", "agreements", "deposit", "card", "limit", "lock", "unlock", "close", "withdrawal", "reveal", "page"
]
State = Literal["open", "done", "not done", "manual"]

# A card's limit is its mark times this, and what it was raised by since: so its mark can still be read from it.
STEP = 100
FREQUENCY = "per30DayPeriod"
DESTINATION = {"currency": "rusd", "network": "base", "address": "0x" + "7c" * 20}
# What a user has to spend, in whole units of the currency that is paid in.
FUNDS = 2000
TWINS = 0.12
ON_CARDS = ("limit", "lock", "unlock", "close", "reveal", "page")
WEIGHTS: dict[Kind, int] = {
    "card": 40, "withdrawal": 16, "limit": 12, "lock": 6, "unlock": 8, "close": 6, "reveal": 1, "page": 1, "deposit": 6,
}  # fmt: skip

_PERSON = {
    "first_name": "Grace",
    "last_name": "Approved",
    "birth_date": "1986-12-09",
    "national_id": "TEST-1906",
    "country_of_issue": "US",
    "email": "grace@example.com",
    "address_line1": "2 Harbor Road",
    "address_city": "Arlington",
    "address_region": "VA",
    "address_postal_code": "22201",
    "address_country_code": "US",
    "occupation": "15-1132",
    "annual_salary": "50k–99k",
    "account_purpose": "testing",
    "expected_monthly_volume": "under $1k",
}

_numbers = count(1)


@dataclass
class Wish:
    """One thing that a user wants to have happen once.

    `key` is what a repeated call names it by, once there is something: the sealed state of a dialog with the person's
    answer, or the id of an approval. `plain`: it is a write that nobody is asked about, so there is no such id.
    """

    number: int
    kind: Kind
    user: str
    tool: str
    arguments: dict[str, Any]
    mark: int
    owner: Customer
    card: Card | None = None
    plain: bool = False
    by_dialog: bool = True
    key: dict[str, Any] | None = None
    granted: bool = False
    state: State = "open"
    code: str = ""
    reference: str = ""
    calls: int = 0
    cut: int = 0
    """How many calls that named it had no answer because the server died."""
    unknown: int = 0
    """How many answers said that it is not known whether it happened."""

    def settle(self, state: State, code: str, reference: str = "") -> None:
        """What is known of it for good."""
        self.state, self.code, self.reference = state, code, reference


@dataclass
class Card:
    """A card that a user was given: its id, and what each wish since then was to make of it."""

    card_id: str
    mark: int
    raised: int = 0
    locked: bool = False
    closed: bool = False
    busy: Wish | None = None
    """The wish whose end is not known; nothing else is wished of the card meanwhile."""
    wishes: list[Wish] = field(default_factory=list)

    @property
    def free(self) -> bool:
        return not self.closed and (self.busy is None or self.busy.state in ("done", "not done"))


@dataclass
class Customer:
    """A user on the way: onboarding first, then whatever chance says, until it is somebody else's turn."""

    user: str
    rng: random.Random
    wishes: list[Wish] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    balance: int = 0
    resolved: bool = False
    left: int = 30

    @property
    def stuck(self) -> bool:
        """Whether onboarding waits for a wish whose end is not known."""
        return any(wish.state in ("open", "manual") for wish in self.wishes[:3])

    def next(self, weights: Mapping[Kind, int]) -> Wish:
        """The next wish."""
        for kind in ("kyc", "agreements", "deposit"):
            if not any(wish.kind == kind and wish.state == "done" for wish in self.wishes):
                return self._made(kind, None)
        self.left -= 1
        kinds, shares = list(weights), list(weights.values())
        while True:
            kind = self.rng.choices(kinds, shares)[0]
            card = self._card_for(kind)
            if card is not None or kind in ("card", "deposit") or (kind == "withdrawal" and self.balance >= 100_00):
                return self._made(kind, card)

    def _card_for(self, kind: Kind) -> Card | None:
        fit = [card for card in self.cards if card.free and (kind == "unlock") == card.locked and kind in ON_CARDS]
        return self.rng.choice(fit) if fit else None

    def _made(self, kind: Kind, card: Card | None) -> Wish:
        number = next(_numbers)
        tool, arguments, mark = self._call(kind, number, card)
        wish = Wish(number, kind, self.user, tool, {"user_id": self.user, **arguments}, mark, self, card)
        # A reveal that shows nothing to anybody, and locking, ask nobody.
        wish.plain = kind == "lock" or (kind == "reveal" and arguments["sink"] == "none")
        wish.by_dialog = self.rng.random() < 0.85
        self.wishes.append(wish)
        if card is not None:
            card.busy = wish
            card.wishes.append(wish)
        return wish

    def _call(self, kind: Kind, number: int, card: Card | None) -> tuple[str, dict[str, Any], int]:
        """The tool, its arguments, and the mark."""
        if card is not None:
            return self._call_on(card, kind, number)
        match kind:
            case "kyc":
                return "submit_kyc", dict(_PERSON), 0
            case "agreements":
                return "accept_agreements", {}, 0
            case "deposit":
                mark = FUNDS * 100 + len(self.wishes)
                return "create_deposit", {"currency": "rusd", "network": "base", "amount": mark / 100}, mark
            case "withdrawal":
                return "create_withdrawal", {}, 10_00 + len(self.wishes)
            case _:
                mark = self._card_mark(number)
                return "create_card", _limit(mark * STEP) | self._label(number, 0.6), mark

    def _call_on(self, card: Card, kind: Kind, number: int) -> tuple[str, dict[str, Any], int]:
        about = {"card_id": card.card_id}
        match kind:
            case "limit":
                card.raised += 1
                limit = _limit(card.mark * STEP + card.raised)
                return "update_card", about | limit | self._label(number, 0.3), card.raised
            case "lock" | "unlock":
                return "update_card", about | {"status": "locked" if kind == "lock" else "active"}, 0
            case "close":
                return "close_card", about, 0
            case _:
                sink = "page" if kind == "page" else self.rng.choice(("none", "none", "sealed"))
                return "reveal_card", about | {"sink": sink}, 0

    def _label(self, number: int, share: float) -> dict[str, Any]:
        return {"label": f"Card {number}"} if self.rng.random() < share else {}

    def _card_mark(self, number: int) -> int:
        before = [wish.mark for wish in self.wishes if wish.kind == "card"]
        return self.rng.choice(before) if before and self.rng.random() < TWINS else number

    def learn(self, wish: Wish) -> None:
        """Take note of what was done."""
        if wish.state != "done":
            return
        match wish.kind:
            case "card":
                self.cards.append(Card(wish.reference, wish.mark))
            case "deposit":
                self.balance += wish.mark
            case "withdrawal":
                self.balance -= wish.mark
            case "lock" | "unlock" if wish.card is not None:
                wish.card.locked = wish.kind == "lock"
            case "close" if wish.card is not None:
                wish.card.closed = True


def _limit(cents: int) -> dict[str, Any]:
    return {"limit_amount_cents": cents, "limit_frequency": FREQUENCY}


def names(seed: int) -> Iterator[str]:
    """The users of a run, none of which came before."""
    return (f"crash-{seed}-{number}" for number in count(1))

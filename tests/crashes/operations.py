"""The operations that users perform, each exactly once, and what the client was told about them.

Each operation has a mark: an amount in cents that no operation of another kind or user has. The judge uses it to find
the effect upstream, without relying on the server. Twins share a mark on purpose, so that a server cannot tell cards
apart by their limits alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from machines_mcp.tools.example_identity import IDENTITY

Kind = Literal[
    "kyc", "agreements", "deposit", "card", "limit", "lock", "unlock", "close", "withdrawal", "reveal", "page"
]
State = Literal["open", "done", "not done", "manual"]

# A card's limit is its mark times this, plus later increases, so that the mark can be read from the limit.
STEP = 100
FREQUENCY = "per30DayPeriod"
DESTINATION = {"currency": "rusd", "network": "base", "address": "0x" + "7c" * 20, "admin_address": "0x" + "7a" * 20}
# A user's funds, in whole units of the deposit currency.
FUNDS = 2000
TWINS = 0.12
ON_CARDS = ("limit", "lock", "unlock", "close", "reveal", "page")
WEIGHTS: dict[Kind, int] = {
    "card": 40, "withdrawal": 16, "limit": 12, "lock": 6, "unlock": 8, "close": 6, "reveal": 1, "page": 1, "deposit": 6,
}  # fmt: skip

_numbers = count(1)


@dataclass
class CrashOperation:
    """One operation that must take effect once.

    `key` identifies it in a repeated call: the sealed dialog state with the person's answer, or the approval id.
    `plain` writes need no approval, so they have none.
    """

    number: int
    kind: Kind
    user: str
    tool: str
    arguments: dict[str, Any]
    mark: int
    owner: CrashCustomer
    card: CardHistory | None = None
    plain: bool = False
    by_dialog: bool = True
    key: dict[str, Any] | None = None
    granted: bool = False
    state: State = "open"
    code: str = ""
    reference: str = ""
    calls: int = 0
    cut: int = 0
    """Calls with the key whose response was lost because the server was killed."""
    unknown: int = 0
    """Responses that reported an unknown outcome."""

    def settle(self, state: State, code: str, reference: str = "") -> None:
        """Record the final state."""
        self.state, self.code, self.reference = state, code, reference


@dataclass
class CardHistory:
    """A user's card: its id, and the changes requested since its creation."""

    card_id: str
    mark: int
    raised: int = 0
    locked: bool = False
    closed: bool = False
    busy: CrashOperation | None = None
    """The operation with an open outcome. Until it is resolved, the card gets no other."""
    operations: list[CrashOperation] = field(default_factory=list)

    @property
    def free(self) -> bool:
        return not self.closed and (self.busy is None or self.busy.state in ("done", "not done"))


@dataclass
class CrashCustomer:
    """A user: onboarding first, then random operations, until another user takes over."""

    user: str
    rng: random.Random
    operations: list[CrashOperation] = field(default_factory=list)
    cards: list[CardHistory] = field(default_factory=list)
    balance: int = 0
    resolved: bool = False
    left: int = 30

    @property
    def stuck(self) -> bool:
        """Whether onboarding waits for an unresolved operation."""
        return any(operation.state in ("open", "manual") for operation in self.operations[:3])

    def next(self, weights: Mapping[Kind, int]) -> CrashOperation:
        """Return the next operation."""
        for kind in ("kyc", "agreements", "deposit"):
            if not any(operation.kind == kind and operation.state == "done" for operation in self.operations):
                return self._new_operation(kind, None)
        self.left -= 1
        kinds, shares = list(weights), list(weights.values())
        while True:
            kind = self.rng.choices(kinds, shares)[0]
            card = self._card_for(kind)
            if card is not None or kind in ("card", "deposit") or (kind == "withdrawal" and self.balance >= 100_00):
                return self._new_operation(kind, card)

    def _card_for(self, kind: Kind) -> CardHistory | None:
        fit = [card for card in self.cards if card.free and (kind == "unlock") == card.locked and kind in ON_CARDS]
        return self.rng.choice(fit) if fit else None

    def _new_operation(self, kind: Kind, card: CardHistory | None) -> CrashOperation:
        number = next(_numbers)
        tool, arguments, mark = self._call(kind, number, card)
        operation = CrashOperation(number, kind, self.user, tool, {"user_id": self.user, **arguments}, mark, self, card)
        # Locking, and a reveal without a sink, need no approval.
        operation.plain = kind == "lock" or (kind == "reveal" and arguments["sink"] == "none")
        operation.by_dialog = self.rng.random() < 0.85
        self.operations.append(operation)
        if card is not None:
            card.busy = operation
            card.operations.append(operation)
        return operation

    def _call(self, kind: Kind, number: int, card: CardHistory | None) -> tuple[str, dict[str, Any], int]:
        """Return the tool, its arguments and the mark."""
        if card is not None:
            return self._call_on(card, kind, number)
        match kind:
            case "kyc":
                return "submit_kyc", dict(IDENTITY), 0
            case "agreements":
                return "accept_agreements", {}, 0
            case "deposit":
                mark = FUNDS * 100 + len(self.operations)
                return "create_deposit", {"currency": "rusd", "network": "base", "amount": mark / 100}, mark
            case "withdrawal":
                return "create_withdrawal", {}, 10_00 + len(self.operations)
            case _:
                mark = self._card_mark(number)
                return "create_card", _limit(mark * STEP) | self._label(number, 0.6), mark

    def _call_on(self, card: CardHistory, kind: Kind, number: int) -> tuple[str, dict[str, Any], int]:
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
        # While one waits for a decision, an equal call shares its approval, and so its card.
        decided = [operation for operation in self.operations if operation.state != "open" or operation.unknown]
        before = [operation.mark for operation in decided if operation.kind == "card"]
        return self.rng.choice(before) if before and self.rng.random() < TWINS else number

    def learn(self, operation: CrashOperation) -> None:
        """Apply a completed operation to the user's state."""
        if operation.state != "done":
            return
        match operation.kind:
            case "card":
                self.cards.append(CardHistory(operation.reference, operation.mark))
            case "deposit":
                self.balance += operation.mark
            case "withdrawal":
                self.balance -= operation.mark
            case "lock" | "unlock" if operation.card is not None:
                operation.card.locked = operation.kind == "lock"
            case "close" if operation.card is not None:
                operation.card.closed = True


def _limit(cents: int) -> dict[str, Any]:
    return {"limit_amount_cents": cents, "limit_frequency": FREQUENCY}


def names(seed: int) -> Iterator[str]:
    """Yield user names that no earlier run used."""
    return (f"crash-{seed}-{number}" for number in count(1))

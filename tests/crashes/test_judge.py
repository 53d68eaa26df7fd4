"""The judge finds each kind of violation when it is planted in a correct world."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

pytest.importorskip("fcntl", reason="servers are forked")

from tests.crashes.judge import judge
from tests.crashes.operations import WEIGHTS, CrashCustomer, CrashOperation, Kind, State
from tests.crashes.upstream import CardSeen, Facts

ENDS: tuple[State, ...] = ("done", "not done", "manual")


class FinishedRun:
    """A user whose operations all succeeded, and the matching upstream state."""

    def __init__(self) -> None:
        self.customer = CrashCustomer("user-1", random.Random(5), left=150)  # noqa: S311
        self.operations: list[CrashOperation] = []
        self.facts = Facts()
        for _ in range(150):
            self._perform(self.customer.next(WEIGHTS))

    def _perform(self, operation: CrashOperation) -> None:
        self.operations.append(operation)
        self.apply(operation)
        operation.settle("done", "ready" if operation.kind == "withdrawal" else "ok", self.reference(operation))
        self.customer.learn(operation)

    def reference(self, operation: CrashOperation) -> str:
        return f"{operation.kind}-{operation.number}" if operation.kind in ("card", "deposit", "withdrawal") else ""

    def apply(self, operation: CrashOperation, times: str = "") -> None:
        """Apply the operation upstream."""
        facts, user, name = self.facts, operation.user, self.reference(operation) + times
        card = facts.cards.get(operation.card.card_id) if operation.card is not None else None
        match operation.kind:
            case "kyc":
                facts.approved.add(user)
            case "agreements":
                facts.agreed.add(user)
            case "deposit":
                facts.deposits[name] = (user, operation.mark)
            case "card":
                facts.cards[name] = CardSeen(user, operation.mark, 0, "active")
            case "withdrawal":
                facts.withdrawals[user, operation.mark] += 1
                facts.signed[user, operation.mark] += 1
            case "reveal" | "page":
                pass
            case kind if card is not None and operation.card is not None:
                status = {"lock": "locked", "unlock": "active", "close": "canceled"}.get(kind, card.status)
                raised = operation.mark if kind == "limit" else card.raised
                facts.cards[operation.card.card_id] = replace(card, status=status, raised=raised)

    def revert(self, operation: CrashOperation) -> None:
        """Remove the operation's effect upstream."""
        match operation.kind:
            case "kyc":
                self.facts.approved.clear()
            case "agreements":
                self.facts.agreed.clear()
            case "deposit":
                del self.facts.deposits[self.reference(operation)]
            case "card":
                del self.facts.cards[self.reference(operation)]
            case "withdrawal":
                self.facts.withdrawals[operation.user, operation.mark] -= 1
                self.facts.signed[operation.user, operation.mark] -= 1
            case _:
                raise AssertionError(operation.kind)

    def last(self, kind: Kind) -> CrashOperation:
        return next(operation for operation in reversed(self.operations) if operation.kind == kind)


@pytest.fixture
def world() -> FinishedRun:
    found = FinishedRun()
    assert {operation.kind for operation in found.operations} == {"kyc", "agreements", "deposit"} | WEIGHTS.keys()
    marks = [operation.mark for operation in found.operations if operation.kind == "card"]
    assert len(set(marks)) < len(marks), "some cards must have equal marks"
    return found


def test_operations_done_once_are_no_violation(world: FinishedRun) -> None:
    assert judge(world.operations, world.facts).faults == []


@pytest.mark.parametrize("kind", ["card", "deposit", "withdrawal", "kyc", "agreements"])
def test_missing_effect_of_a_completed_operation_is_lost(world: FinishedRun, kind: Kind) -> None:
    world.revert(world.last(kind))
    assert judge(world.operations, world.facts).lost


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize("kind", ["card", "deposit", "withdrawal"])
def test_repeated_effect_is_doubled_whatever_was_reported(world: FinishedRun, kind: Kind, state: State) -> None:
    operation = world.last(kind)
    world.apply(operation, "-again")
    operation.settle(state, "" if state != "done" else operation.code, operation.reference)
    assert len(judge(world.operations, world.facts).doubled) == 1


@pytest.mark.parametrize("kind", ["card", "deposit", "withdrawal", "kyc", "agreements"])
def test_effect_of_an_operation_reported_as_not_done_is_denied(world: FinishedRun, kind: Kind) -> None:
    world.last(kind).settle("not done", "approval.expired")
    verdict = judge(world.operations, world.facts)
    assert len(verdict.denied) == 1
    assert verdict.doubled == []


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("kind", ["card", "deposit", "withdrawal", "kyc", "agreements"])
def test_operation_left_to_a_person_may_have_an_effect_or_none(world: FinishedRun, kind: Kind, there: bool) -> None:
    operation = world.last(kind)
    operation.settle("manual", "outcome.unknown")
    if not there:
        world.revert(operation)
    assert judge(world.operations, world.facts).faults == []


def test_unresolved_operation_is_open(world: FinishedRun) -> None:
    world.last("card").state = "open"
    assert len(judge(world.operations, world.facts).open) == 1


def test_object_without_an_operation_is_doubled(world: FinishedRun) -> None:
    world.facts.cards["stray"] = CardSeen("user-1", 999_999, 0, "active")
    assert len(judge(world.operations, world.facts).doubled) == 1


def test_reference_returned_twice_is_found_among_equal_cards(world: FinishedRun) -> None:
    first, second = _twins(world)
    second.reference = first.reference
    assert any("was given for 2 operations" in fault for fault in judge(world.operations, world.facts).lost)


def test_reference_of_another_operation_is_found(world: FinishedRun) -> None:
    card = world.last("card")
    other = next(w for w in world.operations if w.kind == "card" and w.mark != card.mark)
    card.reference, other.reference = other.reference, card.reference
    assert len(judge(world.operations, world.facts).wrong) == 2


def test_unreported_withdrawal_is_found(world: FinishedRun) -> None:
    world.last("withdrawal").settle("done", "pending", "w")
    assert judge(world.operations, world.facts).faults == []
    world.facts.signed["user-1", 12_345] = 1
    assert any("are signed" in fault for fault in judge(world.operations, world.facts).wrong)


CHANGES: list[tuple[str, Callable[[CardSeen], CardSeen]]] = [
    ("limit", lambda seen: replace(seen, raised=seen.raised - 1)),
    ("close", lambda seen: replace(seen, status="active")),
    ("lock", lambda seen: replace(seen, status="canceled")),
]


@pytest.mark.parametrize(("kind", "change"), CHANGES, ids=[kind for kind, _ in CHANGES])
def test_card_that_differs_from_its_last_change_is_wrong(
    world: FinishedRun, kind: Kind, change: Callable[[CardSeen], CardSeen]
) -> None:
    card = world.last(kind).card
    assert card is not None
    world.facts.cards[card.card_id] = change(world.facts.cards[card.card_id])
    assert len(judge(world.operations, world.facts).wrong) == 1


def test_change_with_unknown_outcome_allows_either_state(world: FinishedRun) -> None:
    card = world.last("limit").card
    assert card is not None
    changes = [operation for operation in card.operations if operation.kind == "limit"]
    changes[-1].settle("manual", "outcome.unknown")
    assert judge(world.operations, world.facts).faults == []
    before = changes[-2].mark if len(changes) > 1 else 0
    world.facts.cards[card.card_id] = replace(world.facts.cards[card.card_id], raised=before)
    assert judge(world.operations, world.facts).faults == []
    changes[-1].settle("done", "ok")
    assert judge(world.operations, world.facts).wrong


def _twins(world: FinishedRun) -> tuple[CrashOperation, CrashOperation]:
    cards = [operation for operation in world.operations if operation.kind == "card"]
    return next((a, b) for a in cards for b in cards if a is not b and a.mark == b.mark)

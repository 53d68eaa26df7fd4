"""The judge sees what it is there for: each fault is planted in a world that was right before."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

pytest.importorskip("fcntl", reason="what it judges is forked")

from tests.crashes.judge import judge
from tests.crashes.upstream import CardSeen, Facts
from tests.crashes.wishes import WEIGHTS, Customer, Kind, State, Wish

ENDS: tuple[State, ...] = ("done", "not done", "manual")


class World:
    """A user whose wishes were fulfilled one by one, and upstream as it should be then."""

    def __init__(self) -> None:
        self.customer = Customer("user-1", random.Random(5), left=150)  # noqa: S311
        self.wishes: list[Wish] = []
        self.facts = Facts()
        for _ in range(150):
            self._fulfil(self.customer.next(WEIGHTS))

    def _fulfil(self, wish: Wish) -> None:
        self.wishes.append(wish)
        self.do(wish)
        wish.settle("done", "ready" if wish.kind == "withdrawal" else "ok", self.reference(wish))
        self.customer.learn(wish)

    def reference(self, wish: Wish) -> str:
        return f"{wish.kind}-{wish.number}" if wish.kind in ("card", "deposit", "withdrawal") else ""

    def do(self, wish: Wish, times: str = "") -> None:
        """Have it happen upstream."""
        facts, user, name = self.facts, wish.user, self.reference(wish) + times
        card = facts.cards.get(wish.card.card_id) if wish.card is not None else None
        match wish.kind:
            case "kyc":
                facts.approved.add(user)
            case "agreements":
                facts.agreed.add(user)
            case "deposit":
                facts.deposits[name] = (user, wish.mark)
            case "card":
                facts.cards[name] = CardSeen(user, wish.mark, 0, "active")
            case "withdrawal":
                facts.withdrawals[user, wish.mark] += 1
                facts.signed[user, wish.mark] += 1
            case "reveal" | "page":
                pass
            case kind if card is not None and wish.card is not None:
                status = {"lock": "locked", "unlock": "active", "close": "canceled"}.get(kind, card.status)
                raised = wish.mark if kind == "limit" else card.raised
                facts.cards[wish.card.card_id] = replace(card, status=status, raised=raised)

    def undo(self, wish: Wish) -> None:
        """Have it not have happened."""
        match wish.kind:
            case "kyc":
                self.facts.approved.clear()
            case "agreements":
                self.facts.agreed.clear()
            case "deposit":
                del self.facts.deposits[self.reference(wish)]
            case "card":
                del self.facts.cards[self.reference(wish)]
            case "withdrawal":
                self.facts.withdrawals[wish.user, wish.mark] -= 1
                self.facts.signed[wish.user, wish.mark] -= 1
            case _:
                raise AssertionError(wish.kind)

    def last(self, kind: Kind) -> Wish:
        return next(wish for wish in reversed(self.wishes) if wish.kind == kind)


@pytest.fixture
def world() -> World:
    found = World()
    assert {wish.kind for wish in found.wishes} == {"kyc", "agreements", "deposit"} | WEIGHTS.keys()
    marks = [wish.mark for wish in found.wishes if wish.kind == "card"]
    assert len(set(marks)) < len(marks), "there are twins among the cards"
    return found


def test_what_happened_once_and_was_told_so_is_no_fault(world: World) -> None:
    assert judge(world.wishes, world.facts).faults == []


@pytest.mark.parametrize("kind", ["card", "deposit", "withdrawal", "kyc", "agreements"])
def test_what_was_told_done_and_is_not_there_is_lost(world: World, kind: Kind) -> None:
    world.undo(world.last(kind))
    assert judge(world.wishes, world.facts).lost


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize("kind", ["card", "deposit", "withdrawal"])
def test_what_is_there_twice_is_doubled_whatever_was_told(world: World, kind: Kind, state: State) -> None:
    wish = world.last(kind)
    world.do(wish, "-again")
    wish.settle(state, "" if state != "done" else wish.code, wish.reference)
    assert len(judge(world.wishes, world.facts).doubled) == 1


@pytest.mark.parametrize("kind", ["card", "deposit", "withdrawal", "kyc", "agreements"])
def test_what_was_told_undone_and_is_there_is_denied(world: World, kind: Kind) -> None:
    world.last(kind).settle("not done", "approval.expired")
    verdict = judge(world.wishes, world.facts)
    assert len(verdict.denied) == 1
    assert verdict.doubled == []


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("kind", ["card", "deposit", "withdrawal", "kyc", "agreements"])
def test_what_a_person_is_to_look_at_may_have_happened_or_not(world: World, kind: Kind, there: bool) -> None:
    wish = world.last(kind)
    wish.settle("manual", "outcome.unknown")
    if not there:
        world.undo(wish)
    assert judge(world.wishes, world.facts).faults == []


def test_what_nobody_settled_is_open(world: World) -> None:
    world.last("card").state = "open"
    assert len(judge(world.wishes, world.facts).open) == 1


def test_a_thing_that_nobody_wished_is_doubled(world: World) -> None:
    world.facts.cards["stray"] = CardSeen("user-1", 999_999, 0, "active")
    assert len(judge(world.wishes, world.facts).doubled) == 1


def test_one_thing_given_for_two_wishes_is_found_among_twins(world: World) -> None:
    first, second = _twins(world)
    second.reference = first.reference
    assert any("was given for 2 wishes" in fault for fault in judge(world.wishes, world.facts).lost)


def test_the_thing_of_another_wish_is_found(world: World) -> None:
    card = world.last("card")
    other = next(w for w in world.wishes if w.kind == "card" and w.mark != card.mark)
    card.reference, other.reference = other.reference, card.reference
    assert len(judge(world.wishes, world.facts).wrong) == 2


def test_money_that_nobody_was_told_of_is_found(world: World) -> None:
    world.last("withdrawal").settle("done", "pending", "w")
    assert judge(world.wishes, world.facts).faults == []
    world.facts.signed["user-1", 12_345] = 1
    assert any("signed for" in fault for fault in judge(world.wishes, world.facts).wrong)


CHANGES: list[tuple[str, Callable[[CardSeen], CardSeen]]] = [
    ("limit", lambda seen: replace(seen, raised=seen.raised - 1)),
    ("close", lambda seen: replace(seen, status="active")),
    ("lock", lambda seen: replace(seen, status="canceled")),
]


@pytest.mark.parametrize(("kind", "change"), CHANGES, ids=[kind for kind, _ in CHANGES])
def test_a_card_that_is_not_as_the_last_change_left_it_is_wrong(
    world: World, kind: Kind, change: Callable[[CardSeen], CardSeen]
) -> None:
    card = world.last(kind).card
    assert card is not None
    world.facts.cards[card.card_id] = change(world.facts.cards[card.card_id])
    assert len(judge(world.wishes, world.facts).wrong) == 1


def test_a_change_that_may_have_happened_leaves_either_state_right(world: World) -> None:
    card = world.last("limit").card
    assert card is not None
    changes = [wish for wish in card.wishes if wish.kind == "limit"]
    changes[-1].settle("manual", "outcome.unknown")
    assert judge(world.wishes, world.facts).faults == []
    before = changes[-2].mark if len(changes) > 1 else 0
    world.facts.cards[card.card_id] = replace(world.facts.cards[card.card_id], raised=before)
    assert judge(world.wishes, world.facts).faults == []
    changes[-1].settle("done", "ok")
    assert judge(world.wishes, world.facts).wrong


def _twins(world: World) -> tuple[Wish, Wish]:
    cards = [wish for wish in world.wishes if wish.kind == "card"]
    return next((a, b) for a in cards for b in cards if a is not b and a.mark == b.mark)

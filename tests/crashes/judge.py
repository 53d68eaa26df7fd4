"""What a client was told against what upstream holds: lost, doubled, wrongly denied, and what nobody settled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from tests.crashes.upstream import Facts, Marks
from tests.crashes.wishes import Wish

T = TypeVar("T")


@dataclass
class Verdict:
    """What is wrong, a sentence for each, and what was merely counted."""

    lost: list[str] = field(default_factory=list)
    """Said to be done, and not there."""
    doubled: list[str] = field(default_factory=list)
    """There more often than it was wished."""
    denied: list[str] = field(default_factory=list)
    """Said not to have happened, and there: whoever believes it does it again."""
    open: list[str] = field(default_factory=list)
    """Neither resolved nor handed to a person."""
    wrong: list[str] = field(default_factory=list)
    """A card that is not as the last change left it, or money that is not what was signed for."""
    wishes: int = 0
    made: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)

    @property
    def faults(self) -> list[str]:
        """All of it, with what it is."""
        groups = ("lost", "doubled", "denied", "open", "wrong")
        return [f"{group}: {fault}" for group in groups for fault in getattr(self, group)]

    def add(self, other: Verdict) -> None:
        """Both together."""
        for group in ("lost", "doubled", "denied", "open", "wrong"):
            getattr(self, group).extend(getattr(other, group))
        self.wishes += other.wishes
        self.made += other.made
        self.states += other.states


def judge(wishes: Iterable[Wish], facts: Facts) -> Verdict:
    """Compare each wish with what became of it."""
    wishes, verdict = list(wishes), Verdict()
    verdict.wishes = len(wishes)
    verdict.states.update(wish.state for wish in wishes)
    verdict.open += [_name(wish) for wish in wishes if wish.state == "open"]
    for kind, marks in _marks(facts).items():
        verdict.made[kind] = marks.total()
        _count(kind, [wish for wish in wishes if wish.kind == kind], marks, verdict)
    _references(wishes, facts, verdict)
    _money(wishes, facts, verdict)
    _once_for_all(wishes, facts, verdict)
    _cards(wishes, facts, verdict)
    return verdict


def _marks(facts: Facts) -> dict[str, Marks]:
    return {
        "card": Counter((card.user, card.mark) for card in facts.cards.values()),
        "deposit": Counter(facts.deposits.values()),
        "withdrawal": facts.withdrawals,
    }


def _count(kind: str, wishes: list[Wish], there: Marks, verdict: Verdict) -> None:
    """Of all that share a mark there must be as many as were done, and perhaps those that nobody knows."""
    groups: defaultdict[tuple[str, int], list[Wish]] = defaultdict(list)
    for wish in wishes:
        groups[wish.user, wish.mark].append(wish)
    for key in there.keys() - groups.keys():
        verdict.doubled.append(f"{there[key]} x {kind} of {key} that nobody wished")
    for key, group in groups.items():
        done = sum(wish.state == "done" for wish in group)
        perhaps = sum(wish.state in ("manual", "open") for wish in group)
        found = there[key]
        if found < done:
            verdict.lost.append(f"{done} {kind} done, {found} there: {_names(group)}")
        if found > len(group):
            # What is too much beside each of them having happened once.
            verdict.doubled += [f"{found} {kind} for {len(group)}: {_names(group)}"] * (found - len(group))
        elif found > done + perhaps:
            verdict.denied += [f"{found} {kind} there, {done} done: {_names(group)}"] * (found - done - perhaps)


def _references(wishes: list[Wish], facts: Facts, verdict: Verdict) -> None:
    """Each thing that was named is there, is of the wish that it was named to, and was named once."""
    named: Counter[str] = Counter()
    for wish in wishes:
        if wish.state != "done" or wish.kind not in ("card", "deposit"):
            continue
        named[wish.reference] += 1
        card, deposit = facts.cards.get(wish.reference), facts.deposits.get(wish.reference)
        owner = (card.user, card.mark) if card is not None else deposit
        if owner is None:
            verdict.lost.append(f"{_name(wish)} is not there")
        elif owner != (wish.user, wish.mark):
            verdict.wrong.append(f"{_name(wish)} was given what belongs to {owner}")
    for reference, times in named.items():
        if times > 1:
            verdict.lost.append(f"{reference} was given for {times} wishes")


def _money(wishes: list[Wish], facts: Facts, verdict: Verdict) -> None:
    """Money out is the sum of what is done; what nobody knows may be part of it."""
    out = sum(cents * times for (_, cents), times in facts.signed.items())
    least = sum(wish.mark for wish in wishes if wish.kind == "withdrawal" and wish.code == "ready")
    perhaps = sum(
        wish.mark
        for wish in wishes
        if wish.kind == "withdrawal" and (wish.state in ("manual", "open") or wish.code == "pending")
    )
    if not least <= out <= least + perhaps:
        verdict.wrong.append(f"{out} cents are signed for, of {least} that were done and {perhaps} that may be")


def _once_for_all(wishes: list[Wish], facts: Facts, verdict: Verdict) -> None:
    """What can be had once only: an identity check, an agreement."""
    for kind, there in (("kyc", facts.approved), ("agreements", facts.agreed)):
        told = {wish.user for wish in wishes if wish.kind == kind and wish.state == "done"}
        perhaps = {wish.user for wish in wishes if wish.kind == kind and wish.state in ("manual", "open")}
        verdict.lost += [f"{kind} of {user}" for user in sorted(told - there)]
        verdict.denied += [f"{kind} of {user}" for user in sorted(there - told - perhaps)]


def _cards(wishes: list[Wish], facts: Facts, verdict: Verdict) -> None:
    """Each card is as the last change left it."""
    cards = {wish.card.card_id: wish.card for wish in wishes if wish.card is not None}
    for card_id, card in cards.items():
        seen = facts.cards.get(card_id)
        if seen is None:
            continue
        limits, statuses = {0}, {"active"}
        for wish in card.wishes:
            limits = _after(wish, limits, wish.mark if wish.kind == "limit" else None)
            statuses = _after(
                wish, statuses, {"lock": "locked", "unlock": "active", "close": "canceled"}.get(wish.kind)
            )
        if seen.raised not in limits or seen.status not in statuses:
            verdict.wrong.append(
                f"card {card_id} is {seen.status} at {seen.raised}, not {sorted(statuses)} at {sorted(limits)}:"
                f" {_names(card.wishes)}"
            )


def _after(wish: Wish, before: set[T], new: T | None) -> set[T]:
    if new is None or wish.state == "not done":
        return before
    return {new} if wish.state == "done" else before | {new}


def _names(wishes: Iterable[Wish]) -> str:
    return "; ".join(_name(wish) for wish in wishes)


def _name(wish: Wish) -> str:
    return f"{wish.kind} {wish.number} of {wish.user} ({wish.state}, {wish.code or 'no answer'}, {wish.calls} calls)"


def lines(verdict: Verdict) -> Iterator[str]:
    """The verdict, for a person."""
    made = ", ".join(f"{count} {kind}s" for kind, count in sorted(verdict.made.items()))
    states = ", ".join(f"{count} {state}" for state, count in sorted(verdict.states.items()))
    yield f"{verdict.wishes} wishes ({states}); upstream made {made}"
    counts = {name: len(getattr(verdict, name)) for name in ("lost", "doubled", "denied", "open", "wrong")}
    yield ", ".join(f"{count} {name}" for name, count in counts.items())

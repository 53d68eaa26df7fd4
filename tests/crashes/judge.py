"""Compare the client's responses with the upstream state: lost, doubled, wrongly denied and unresolved operations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from tests.crashes.operations import CrashOperation
from tests.crashes.upstream import Facts, Marks

T = TypeVar("T")


@dataclass
class CrashVerdict:
    """Violations by kind, and counts."""

    lost: list[str] = field(default_factory=list)
    """Reported as done, but missing upstream."""
    doubled: list[str] = field(default_factory=list)
    """Present more often than requested."""
    denied: list[str] = field(default_factory=list)
    """Reported as not done, but present upstream. A client that trusts the report would repeat it."""
    open: list[str] = field(default_factory=list)
    """Neither resolved nor left to a person."""
    wrong: list[str] = field(default_factory=list)
    """A card that differs from its last change, or an amount that differs from what was signed."""
    operations: int = 0
    made: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)

    @property
    def faults(self) -> list[str]:
        """List every violation with its kind."""
        groups = ("lost", "doubled", "denied", "open", "wrong")
        return [f"{group}: {fault}" for group in groups for fault in getattr(self, group)]

    def add(self, other: CrashVerdict) -> None:
        """Add another verdict to this one."""
        for group in ("lost", "doubled", "denied", "open", "wrong"):
            getattr(self, group).extend(getattr(other, group))
        self.operations += other.operations
        self.made += other.made
        self.states += other.states


def judge(operations: Iterable[CrashOperation], facts: Facts) -> CrashVerdict:
    """Compare each operation with its effect upstream."""
    operations, verdict = list(operations), CrashVerdict()
    verdict.operations = len(operations)
    verdict.states.update(operation.state for operation in operations)
    verdict.open += [_name(operation) for operation in operations if operation.state == "open"]
    for kind, marks in _marks(facts).items():
        verdict.made[kind] = marks.total()
        _count(kind, [operation for operation in operations if operation.kind == kind], marks, verdict)
    _references(operations, facts, verdict)
    _money(operations, facts, verdict)
    _once_for_all(operations, facts, verdict)
    _cards(operations, facts, verdict)
    return verdict


def _marks(facts: Facts) -> dict[str, Marks]:
    return {
        "card": Counter((card.user, card.mark) for card in facts.cards.values()),
        "deposit": Counter(facts.deposits.values()),
        "withdrawal": facts.withdrawals,
    }


def _count(kind: str, operations: list[CrashOperation], there: Marks, verdict: CrashVerdict) -> None:
    """Check each mark: as many objects as completed operations, plus at most those with an unknown outcome."""
    groups: defaultdict[tuple[str, int], list[CrashOperation]] = defaultdict(list)
    for operation in operations:
        groups[operation.user, operation.mark].append(operation)
    for key in there.keys() - groups.keys():
        verdict.doubled.append(f"{there[key]} x {kind} of {key} without an operation")
    for key, group in groups.items():
        done = sum(operation.state == "done" for operation in group)
        perhaps = sum(operation.state in ("manual", "open") for operation in group)
        found = there[key]
        if found < done:
            verdict.lost.append(f"{done} {kind} completed, {found} upstream: {_names(group)}")
        if found > len(group):
            # Count only the objects beyond one per operation.
            verdict.doubled += [f"{found} {kind} for {len(group)}: {_names(group)}"] * (found - len(group))
        elif found > done + perhaps:
            verdict.denied += [f"{found} {kind} there, {done} done: {_names(group)}"] * (found - done - perhaps)


def _references(operations: list[CrashOperation], facts: Facts, verdict: CrashVerdict) -> None:
    """Check that each returned reference exists, belongs to its operation and was returned once."""
    named: Counter[str] = Counter()
    for operation in operations:
        if operation.state != "done" or operation.kind not in ("card", "deposit"):
            continue
        named[operation.reference] += 1
        card, deposit = facts.cards.get(operation.reference), facts.deposits.get(operation.reference)
        owner = (card.user, card.mark) if card is not None else deposit
        if owner is None:
            verdict.lost.append(f"{_name(operation)} is missing upstream")
        elif owner != (operation.user, operation.mark):
            verdict.wrong.append(f"{_name(operation)} was given an object of {owner}")
    for reference, times in named.items():
        if times > 1:
            verdict.lost.append(f"{reference} was given for {times} operations")


def _money(operations: list[CrashOperation], facts: Facts, verdict: CrashVerdict) -> None:
    """Check that money sent is the sum of completed withdrawals, plus at most those with an unknown outcome."""
    out = sum(cents * times for (_, cents), times in facts.signed.items())
    least = sum(
        operation.mark for operation in operations if operation.kind == "withdrawal" and operation.code == "ready"
    )
    perhaps = sum(
        operation.mark
        for operation in operations
        if operation.kind == "withdrawal" and (operation.state in ("manual", "open") or operation.code == "pending")
    )
    if not least <= out <= least + perhaps:
        verdict.wrong.append(f"{out} cents are signed, {least} completed and {perhaps} unknown")


def _once_for_all(operations: list[CrashOperation], facts: Facts, verdict: CrashVerdict) -> None:
    """Check one-time effects: KYC and agreements."""
    for kind, there in (("kyc", facts.approved), ("agreements", facts.agreed)):
        told = {operation.user for operation in operations if operation.kind == kind and operation.state == "done"}
        perhaps = {
            operation.user
            for operation in operations
            if operation.kind == kind and operation.state in ("manual", "open")
        }
        verdict.lost += [f"{kind} of {user}" for user in sorted(told - there)]
        verdict.denied += [f"{kind} of {user}" for user in sorted(there - told - perhaps)]


def _cards(operations: list[CrashOperation], facts: Facts, verdict: CrashVerdict) -> None:
    """Check that each card matches its last change."""
    cards = {operation.card.card_id: operation.card for operation in operations if operation.card is not None}
    for card_id, card in cards.items():
        seen = facts.cards.get(card_id)
        if seen is None:
            continue
        limits, statuses = {0}, {"active"}
        for operation in card.operations:
            limits = _after(operation, limits, operation.mark if operation.kind == "limit" else None)
            statuses = _after(
                operation, statuses, {"lock": "locked", "unlock": "active", "close": "canceled"}.get(operation.kind)
            )
        if seen.raised not in limits or seen.status not in statuses:
            verdict.wrong.append(
                f"card {card_id} is {seen.status} at {seen.raised}, not {sorted(statuses)} at {sorted(limits)}:"
                f" {_names(card.operations)}"
            )


def _after(operation: CrashOperation, before: set[T], new: T | None) -> set[T]:
    if new is None or operation.state == "not done":
        return before
    return {new} if operation.state == "done" else before | {new}


def _names(operations: Iterable[CrashOperation]) -> str:
    return "; ".join(_name(operation) for operation in operations)


def _name(operation: CrashOperation) -> str:
    ended = f"{operation.state}, {operation.code or 'no answer'}, {operation.calls} calls"
    return f"{operation.kind} {operation.number} of {operation.user} ({ended})"


def lines(verdict: CrashVerdict) -> Iterator[str]:
    """Format the verdict for a person."""
    made = ", ".join(f"{count} {kind}s" for kind, count in sorted(verdict.made.items()))
    states = ", ".join(f"{count} {state}" for state, count in sorted(verdict.states.items()))
    yield f"{verdict.operations} operations ({states}); upstream made {made}"
    counts = {name: len(getattr(verdict, name)) for name in ("lost", "doubled", "denied", "open", "wrong")}
    yield ", ".join(f"{count} {name}" for name, count in counts.items())

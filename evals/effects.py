"""What changed at Machines, read from the simulator, and what the server's journal says about it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Facts = dict[str, str | int | bool]
_COUNTS = {
    "journal": "SELECT tool || '.' || state, count(*) FROM mutations GROUP BY 1",
    "approval": "SELECT tool || '.' || state, count(*) FROM approvals GROUP BY 1",
    "outcome": "SELECT tool || '.' || coalesce(code, ''), count(*) FROM audit WHERE kind = 'outcome' GROUP BY 1",
}


@dataclass(frozen=True)
class Snapshot:
    """Both sides at one moment: the control's summary of each user, and the counts of the server's own state."""

    users: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, int]


def snapshot(summary: Mapping[str, Any], state: Path) -> Snapshot:
    """Return the control's summary and the counts of the server's state file together."""
    counts: dict[str, int] = {}
    if state.exists():
        with closing(sqlite3.connect(state, timeout=30)) as db:
            for what, statement in _COUNTS.items():
                counts |= {f"{what}.{name}": count for name, count in db.execute(statement) if name}
    return Snapshot({user["userId"]: user for user in summary["users"]}, counts)


def facts(before: Snapshot, after: Snapshot) -> Facts:
    """Return the final state by name. Counts of the journal, of approvals and of outcomes are those since `before`."""
    found: Facts = {name: count - before.counts.get(name, 0) for name, count in after.counts.items()}
    for user_id, user in after.users.items():
        found |= {
            f"{user_id}.kyc": user["kycStatus"],
            f"{user_id}.agreed": user["agreementsAccepted"],
            f"{user_id}.spendable": user["spendingPower"],
        }
        for status, count in Counter(card["status"] for card in user["cards"]).items():
            found[f"{user_id}.cards.{status}"] = count
    return found


def effects(before: Snapshot, after: Snapshot) -> list[str]:
    """Return each change as "user: kind" or "user: kind: details"."""
    found = []
    for user_id, user in after.users.items():
        known = before.users.get(user_id)
        if known is None:
            found.append(f"{user_id}: user created")
        found += [f"{user_id}: {change}" for change in _changes(known or {}, user)]
    sent = after.counts.get("journal.submit_kyc.done", 0) - before.counts.get("journal.submit_kyc.done", 0)
    return found + ["user-1: identity submitted"] * sent


def kind(effect: str) -> str:
    """Return the kind of an effect."""
    return effect.split(": ")[1]


def _changes(known: Mapping[str, Any], user: Mapping[str, Any]) -> Iterator[str]:
    if user["agreementsAccepted"] and not known.get("agreementsAccepted"):
        yield "agreements accepted"
    there = {one["id"] for one in known.get("deposits", ())}
    for deposit in user["deposits"]:
        if deposit["id"] not in there:
            yield f"deposit address made: {deposit['asset']}"
    cards = {card["cardId"]: card for card in known.get("cards", ())}
    for card in user["cards"]:
        yield from _card_changes(cards.get(card["cardId"]), card)
    there = {one["id"] for one in known["withdrawals"]["newest"]} if known else set()
    for one in user["withdrawals"]["newest"]:
        if one["id"] not in there:
            yield f"withdrawal signed: {one['amountCents']} {one['asset']} to {one['address']}"


def _card_changes(known: Mapping[str, Any] | None, card: Mapping[str, Any]) -> Iterator[str]:
    if known is None:
        yield f"card issued: {_limit(card)}"
        known = dict(card) | {"status": "active"}
    if known["status"] != card["status"]:
        yield {"locked": "card locked", "active": "card unlocked"}.get(card["status"], "card closed")
    if known["limit"] != card["limit"]:
        yield f"limit set: {_limit(card)}"
    if known["label"] != card["label"]:
        yield f"label set: {card['label']}"


def _limit(card: Mapping[str, Any]) -> str:
    limit = card["limit"]
    return f"{limit['amountCents']} {limit['frequency']}" if limit else "no limit"

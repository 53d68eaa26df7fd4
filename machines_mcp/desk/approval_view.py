"""An approval as a person reads it: who, how much, where to and what is new, then the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from machines_mcp.permissions.approval_details import Detail
from machines_mcp.redaction.display import dollars

if TYPE_CHECKING:
    from machines_mcp.permissions.approval import Approval


@dataclass(frozen=True, slots=True)
class ToolWords:
    """A tool in the approver's words: what it is about, and what the button does. `{card}` names the card."""

    kind: str
    action: str
    danger: bool = False
    """Whether it can't be undone."""


TOOL_WORDS = {
    "create_withdrawal": ToolWords("Withdrawal", "Approve the withdrawal"),
    "confirm_withdrawal": ToolWords("Sent withdrawal", "Record the transaction"),
    "create_card": ToolWords("New card", "Issue the card"),
    "update_card": ToolWords("Change of a card", "Change the card {card}"),
    "close_card": ToolWords("Closing of a card", "Close card {card}", danger=True),
    "reveal_card": ToolWords("Card number", "Show card {card}"),
    "submit_kyc": ToolWords("Identity data", "Send to Machines"),
    "accept_agreements": ToolWords("Agreements", "Accept the agreements"),
    "resolve_user": ToolWords("Wallet", "Link the wallet"),
}
CLASS_WORDS = {
    "money": "money or spending",
    "identity": "identity data",
    "consent": "consent",
    "destroy": "can't be undone",
    "reveal": "a card's number",
    "write": "a change",
    "read": "reading",
}
_WHERE = ("Address", "Memo", "As", "Wallet", "Card", "Where")
_CHANGES = {"Limit": "change the limit", "Label": "change the label"}


@dataclass(frozen=True, slots=True)
class Agreement:
    """An agreement's whole text, and its documents."""

    text: Detail
    documents: tuple[Detail, ...]


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """An approval as the page shows it. Each of its details is in one of `hero`, `where`, `rows` and `agreements`."""

    approval: Approval
    kind: str
    hero: Detail | None
    where: tuple[Detail, ...]
    marks: tuple[str, ...]
    """What is new or risky about it."""
    rows: tuple[Detail, ...]
    agreements: tuple[Agreement, ...]
    question: str
    """The question, if the details do not say it all."""
    action: str
    danger: bool = False
    status: str = ""
    tone: str = ""
    note: str = ""

    @property
    def title(self) -> str:
        """What it is about, in a line of text."""
        hero = self.hero
        return self.kind if hero is None else f"{self.kind}: {hero.line()}{replace(hero, note=None).remarks}"

    @property
    def to(self) -> str:
        """The address that money goes to; empty if there is none."""
        destination = self.approval.details.destination
        return destination.address if destination else ""


def approval_view(approval: Approval, title: str, identity: tuple[Detail, ...]) -> ApprovalView:
    """Return the view of an approval. `title` names a tool that has no words here."""
    words, details = TOOL_WORDS.get(approval.tool), approval.details
    items = [item for item in details.items if not (item.label == "User" and item.value == approval.user_id)]
    agreements = tuple(_agreements(items)) if approval.tool == "accept_agreements" else ()
    if agreements:
        items = [item for item in items if item.label not in ("Agreement", "Document")]
    hero, shown_as_hero = _hero(approval, items, len(agreements))
    items = [item for item in items if item is not shown_as_hero]
    items = list(_with_asset(items))
    where = sorted((item for item in items if item.label in _WHERE), key=lambda item: _WHERE.index(item.label))
    rest = [item for item in items if item not in where]
    marked = [*([hero] if hero else []), *where, *(item for item in rest if item.label == "Label")]
    return ApprovalView(
        approval,
        words.kind if words else title,
        hero,
        tuple(where),
        tuple(_sentence(item.note) for item in (*marked, *details.context) if item.note),
        tuple(replace(item, note=None) if item in marked else item for item in rest)
        + tuple(replace(item, note=None) for item in details.context)
        + identity,
        agreements,
        "" if words and (hero or where) else approval.question,
        _action(approval, words),
        words is not None and words.danger,
    )


def _hero(approval: Approval, items: list[Detail], agreements: int) -> tuple[Detail | None, Detail | None]:
    """Return what matters most, as it is shown, and its detail: the amount, the limit, what changes, or the card."""
    found = {item.label: item for item in items}
    if approval.amount_cents is not None:
        amount, stated = dollars(approval.amount_cents), found.get("Amount")
        stated = stated if stated is not None and stated.value == amount else None
        return Detail("Amount", amount, stated.note if stated else None), stated
    if agreements:
        return Detail("Agreements", "1 agreement" if agreements == 1 else f"{agreements} agreements"), None
    hero = None
    if approval.tool in ("create_card", "update_card"):
        changed = [found[name] for name in ("Limit", "Status", "Label") if name in found and found[name].before]
        hero = changed[0] if changed else found.get("Limit")
    if approval.tool in ("close_card", "reveal_card") and "Card" in found:
        return replace(found["Card"], value=f"Card {found['Card'].value}"), found["Card"]
    return hero, hero


def _with_asset(items: list[Detail]) -> Iterator[Detail]:
    """Yield the items, the currency and its network as one."""
    found = {item.label: item for item in items}
    both = "Currency" in found and "Network" in found and found["Currency"].by == found["Network"].by
    for item in items:
        if not both or item.label not in ("Currency", "Network"):
            yield item
        elif item.label == "Network":
            yield Detail(
                "As", f"{found['Currency'].value} on {item.value}", item.note or found["Currency"].note, by=item.by
            )


def _action(approval: Approval, words: ToolWords | None) -> str:
    if words is None:
        return "Approve"
    found = {item.label: item for item in approval.details.items}
    card = found["Card"].line() if "Card" in found else ""
    changed = [change for name, change in _CHANGES.items() if name in found and found[name].before]
    if "Status" in found and found["Status"].before:
        changed.insert(0, "lock" if found["Status"].after == "locked" else "unlock")
    if approval.tool != "update_card" or not changed:
        return words.action.replace("{card}", card)
    what = "card" if changed[-1] in ("lock", "unlock") else "of card"
    return _sentence(f"{' and '.join(changed)} {what} {card}")


def _agreements(items: list[Detail]) -> Iterator[Agreement]:
    """Yield each agreement with the documents that follow it."""
    current: Detail | None = None
    documents: list[Detail] = []
    for item in items:
        if item.label == "Agreement":
            if current:
                yield Agreement(current, tuple(documents))
            current, documents = item, []
        elif item.label == "Document":
            documents.append(item)
    if current:
        yield Agreement(current, tuple(documents))


def grouped_by_user(views: list[ApprovalView]) -> list[tuple[str, list[ApprovalView]]]:
    """Return the views by user: the user with the newest request first, and each user's newest first."""
    newest = sorted(views, key=lambda view: view.approval.created_at, reverse=True)
    order = {user: place for place, user in reversed(list(enumerate(view.approval.user_id for view in newest)))}
    by_user = sorted(newest, key=lambda view: order[view.approval.user_id])
    return [(user, list(some)) for user, some in groupby(by_user, key=lambda view: view.approval.user_id)]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]

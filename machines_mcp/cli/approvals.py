"""Deciding a waiting call at a terminal: what waits, what is at stake, and what became of the decision."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.channels import Decision
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.settings import Settings
from machines_mcp.server.state_folder import opened_guard

if TYPE_CHECKING:
    from machines_mcp.permissions.factory import Guard

ID = re.compile(r"[0-9a-f]{32}")

SAYS: dict[Decision, str] = {
    "granted": "Approved. The assistant may now repeat the call with its approval_id: it runs once, within 5 minutes.",
    "refused": "Refused. The assistant is told so when it asks.",
    "wrong": "That is not the passphrase; nothing was decided. The fifth wrong one within 15 minutes locks it.",
    "locked": "There were five wrong tries, so nothing was decided: for 15 minutes not even the right one is tried.",
    "unset": "No passphrase is set, so nothing can be decided; set one with machines-mcp passphrase.",
    "not_allowed": "The operator's policy does not let a terminal approve this; nothing was decided.",
    "barred": "A limit of the operator's policy forbids this now; nothing was decided.",
    "gone": "Nothing waits under this id any more; see machines-mcp approve.",
}
_ITS_OWN = {
    "page": "This is approved on a page of its own, which shows the card: the assistant's answer has its address.",
    "form": "This is approved by filling in its form at the desk; see machines-mcp desk.",
}
_OVER = {
    "granted": "It is approved already; the assistant may repeat the call with its approval_id.",
    "executing": "It is approved already, and was begun.",
    "done": "It is approved already, and done.",
    "failed": "It was approved already, and failed.",
    "refused": "It is refused already.",
}


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a decision, in one sentence."""

    ok: bool
    message: str


async def approval_store(settings: Settings) -> list[Approval]:
    """All that waits and a person can decide now, the oldest first.

    Raises:
        StoreUnavailable: The state folder can't be used.
    """
    async with opened_guard(settings) as guard:
        return await guard.channels.waiting()


def listed(found: list[Approval]) -> list[dict[str, Any]]:
    """What waits, for a program: a row each. Times are ISO in UTC; `only` is the one place where it can be granted."""
    return [
        {
            "approval_id": approval.id,
            "tool": approval.tool,
            "class": approval.action_class,
            "user_id": approval.user_id,
            "question": approval.question,
            "facts": [asdict(fact) for fact in approval.details.items],
            "amount_cents": approval.amount_cents,
            "card_id": approval.card_id,
            "only": approval.details.only,
            "asked_by": approval.asked_by,
            "asked_at": _iso(approval.created_at),
            "expires_at": _iso(approval.expires_at),
        }
        for approval in found
    ]


def waiting(settings: Settings, found: list[Approval]) -> str:
    """What waits, as a person reads it."""
    if not found:
        return f"Nothing waits (in {settings.state_dir})."
    parts = [outcome_message(approval) for approval in found]
    return "\n\n".join([*parts, "Approve one with machines-mcp approve ID, refuse it with machines-mcp deny ID."])


async def decide(
    settings: Settings, approval_id: str, *, yes: bool, show: Callable[[str], None], ask: Callable[[], Secret]
) -> Decided:
    """Show what is at stake, ask for the passphrase where one is needed, and decide.

    Raises:
        StoreUnavailable: The state folder can't be used.
        NothingTyped: There was no passphrase to read.
    """
    async with opened_guard(settings) as guard:
        approval = await guard.channels.get(approval_id)
        if approval is None:
            return Decided(False, await _why_gone(guard, approval_id))
        show(outcome_message(approval))
        if yes and not await guard.channels.can_approve(approval, "terminal"):
            return Decided(False, await _why_closed(guard, approval))
        if guard.policy.needs_passphrase and not await guard.channels.ready():
            return Decided(False, SAYS["unset"])
        passphrase = ask() if guard.policy.needs_passphrase else None
        decision = await (guard.channels.grant if yes else guard.channels.refuse)(approval_id, "terminal", passphrase)
    return Decided(decision in ("granted", "refused"), SAYS[decision])


def outcome_message(approval: Approval, *more: str) -> str:
    """What a person reads of an intent: all of it from the stored row; and `more` lines after it."""
    facts = approval.details.items
    width = max((len(fact.label) for fact in facts), default=0)
    who = f"“{approval.asked_by}” (as it calls itself)" if approval.asked_by else "a program that gave no name"
    lines = [
        approval.id,
        f"  {approval.tool} (class {approval.action_class}), asked by {who} at {_clock(approval.created_at)},"
        f" {_standing(approval)} UTC",
        *(f"  {line}" for line in approval.question.splitlines()),
    ]
    for fact in facts:
        note = f"  ({fact.note})" if fact.note else ""
        lines.append(f"    {fact.label.ljust(width)}  {fact.value}{note}")
    return "\n".join(plain(line) for line in [*lines, *(f"  {line}" for line in more)])


def _standing(approval: Approval) -> str:
    if approval.started_at is None:
        return f"open until {_clock(approval.expires_at)}"
    return f"approved by {approval.decided_by or 'nobody'} and begun at {_clock(approval.started_at)}"


async def _why_gone(guard: Guard, approval_id: str) -> str:
    approval = await guard.approvals.get(approval_id)
    if approval is None:
        return f"There is no approval under this id in {guard.store.folder}; are MACHINES_ENV and the key the server's?"
    if approval.state != "waiting":
        return _OVER[approval.state]
    if approval.policy != guard.policy.digest:
        return "This was asked under another policy; set MACHINES_POLICY as the server has it, or let it ask anew."
    return "This has expired; the assistant can ask anew."


async def _why_closed(guard: Guard, approval: Approval) -> str:
    if approval.details.only is not None:
        return _ITS_OWN[approval.details.only]
    return SAYS["not_allowed"] if await guard.channels.ready() else SAYS["unset"]


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def plain(line: str) -> str:
    """A line without what could move a cursor."""
    # What was stored was cleaned before; this is what stands between a row somebody put in and a terminal.
    return "".join(character if character.isprintable() else "?" for character in line)

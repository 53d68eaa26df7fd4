"""Decide approvals at a terminal: list them, show their details and record the decision."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import anyio

from machines_mcp.cli.screen import wrapped
from machines_mcp.desk.approval_view import CLASS_WORDS, TOOL_WORDS
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import Detail
from machines_mcp.permissions.decision import MESSAGES
from machines_mcp.redaction.characters import printable
from machines_mcp.redaction.display import iso, moment, not_decidable
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.settings import Settings
from machines_mcp.server.state_folder import open_guard

if TYPE_CHECKING:
    from machines_mcp.permissions.factory import Guard

WATCH_SECONDS = 1.0
ID_LENGTH = 32
MAX_NAMED = 5
ID_BEGINNING = re.compile(rf"[0-9a-f]{{1,{ID_LENGTH}}}")


class NoSuchApproval(Exception):
    """No waiting approval is meant, or more than one. The message says what to do."""


_DECIDED_ELSEWHERE = {
    "page": "Approve this on its own page, which the desk starts. Run machines-mcp desk.",
    "form": "Approve this by filling in its form at the desk. Run machines-mcp desk.",
}
_ALREADY_DECIDED = {
    "granted": "Already approved. The assistant can repeat the call with its approval_id.",
    "executing": "Already approved, and the call has started.",
    "done": "Already approved, and the call is done.",
    "failed": "Already approved, and the call failed.",
    "refused": "Already refused.",
    "withdrawn": "The assistant withdrew this request, so there is nothing to decide.",
    "waiting": "This waits for a decision again. Run the same command again.",
}
"""What a person is told of an approval that is not expired, by its state. One can wait again after its form failed."""


@dataclass(frozen=True, slots=True)
class DecisionResult:
    """The result of a decision: whether it was recorded, and a message for the person."""

    ok: bool
    message: str


async def waiting_approvals(settings: Settings) -> tuple[list[Approval], str]:
    """Return the approvals that a person can decide now, oldest first, and a sentence on those that wait elsewhere.

    Each has its masked identity data among its details.

    Raises:
        StoreUnavailable: The state folder can't be used.
    """
    async with open_guard(settings) as guard:
        return await _waiting(guard)


async def watch_waiting(settings: Settings, show: Callable[[str], None]) -> NoReturn:
    """Show the list of waiting approvals, and again whenever it changes, until the caller is cancelled.

    Raises:
        StoreUnavailable: The state folder can't be used.
    """
    shown = ""
    async with open_guard(settings) as guard:
        while True:
            text = format_waiting(settings, *await _waiting(guard))
            if text != shown:
                show(text)
                shown = text
            await anyio.sleep(WATCH_SECONDS)


async def _waiting(guard: Guard) -> tuple[list[Approval], str]:
    found = [_with_identity(guard, approval) for approval in await guard.channels.waiting()]
    others = (await guard.pending.snapshot()).others_waiting
    return found, not_decidable(others, await guard.channels.not_decidable())


def approvals_as_json(approvals: list[Approval]) -> list[dict[str, Any]]:
    """Return the approvals as JSON objects. Times are ISO in UTC; `only` is the one channel that can grant it."""
    return [
        {
            "approval_id": approval.id,
            "tool": approval.tool,
            "class": approval.action_class,
            "user_id": approval.user_id,
            "question": approval.question,
            "facts": [asdict(detail) for detail in approval.details.items],
            "context": [asdict(detail) for detail in approval.details.context],
            "amount_cents": approval.amount_cents,
            "card_id": approval.card_id,
            "only": approval.details.only,
            "asked_by": approval.asked_by,
            "asked_at": iso(approval.created_at),
            "expires_at": iso(approval.expires_at),
        }
        for approval in approvals
    ]


def format_waiting(settings: Settings, approvals: list[Approval], elsewhere: str) -> str:
    """Return the approvals as text for a person, with the sentence on those that wait elsewhere."""
    how = "To refuse one, run machines-mcp deny ID."
    if any(approval.details.only is None for approval in approvals):
        how = "To approve one, run machines-mcp approve ID. To refuse it, run machines-mcp deny ID."
    if not approvals:
        what = "No approvals that you can decide here" if elsewhere else "No approvals"
        how = f"{what} are waiting (in {settings.state_dir})."
    parts = [format_approval(approval, *_elsewhere(approval)) for approval in approvals]
    ends = [wrapped(line, 0) for line in (how, elsewhere) if line]
    return "\n\n".join([*parts, *ends])


async def matching_id(settings: Settings, beginning: str) -> str:
    """Return the id of the one waiting approval whose id begins like this.

    Raises:
        NoSuchApproval: None does, or several do.
        StoreUnavailable: The state folder can't be used.
    """
    async with open_guard(settings) as guard:
        found = [approval for approval in await guard.channels.waiting() if approval.id.startswith(beginning)]
    if not found:
        raise NoSuchApproval("No waiting approval has an id that begins like this. Run machines-mcp approve.")
    if len(found) > 1:
        which = ", ".join(approval.id[:12] for approval in found[:MAX_NAMED])
        raise NoSuchApproval(f"{len(found)} waiting approvals have ids that begin like this: {which}. Type more of it.")
    return found[0].id


async def decide(
    settings: Settings, approval_id: str, *, yes: bool, show: Callable[[str], None], ask: Callable[[], Secret]
) -> DecisionResult:
    """Show the approval details, ask for the passphrase if one is needed, and decide.

    Raises:
        StoreUnavailable: The state folder can't be used.
        NoInput: No passphrase was typed.
    """
    async with open_guard(settings) as guard:
        approval = await guard.channels.get(approval_id)
        if approval is None:
            return DecisionResult(False, await _why_not_waiting(guard, approval_id))
        show(format_approval(_with_identity(guard, approval)))
        if yes and not await guard.channels.can_approve(approval, "terminal"):
            return DecisionResult(False, await _why_not_approvable(guard, approval))
        if guard.policy.needs_passphrase and not await guard.channels.ready():
            return DecisionResult(False, MESSAGES["unset"])
        passphrase = ask() if guard.policy.needs_passphrase else None
        decision = await (guard.channels.grant if yes else guard.channels.refuse)(approval_id, "terminal", passphrase)
        message = await guard.passphrase.tries.explain(decision, "terminal")
    return DecisionResult(decision in ("granted", "refused"), message)


def format_approval(approval: Approval, *more: str) -> str:
    """Return an approval as text for a person, from the stored row only, with the lines of `more` below it.

    It has the words of the desk. The names of tool and class stand last, for the policy and the audit log.
    """
    words, action_class = TOOL_WORDS.get(approval.tool), approval.action_class
    technical = f"{approval.tool}, class {action_class}: {CLASS_WORDS.get(action_class, 'unknown')}"
    question = approval.question
    stored = [each for each in approval.details.items if each.label != "Where" or each.value not in question]
    details = (*stored, *approval.details.context, Detail("Tool", technical))
    width = max((len(detail.label) for detail in details), default=0)
    who = f"“{approval.asked_by}” (self-reported name)" if approval.asked_by else "an unnamed program"
    lines = [
        approval.id,
        f"  {words.kind if words else approval.tool}, requested by {who} at {_time_of_day(approval.created_at)},"
        f" {_status(approval)} UTC",
        *(f"  {line}" for line in question.splitlines()),
    ]
    for detail in details:
        note = f" {detail.remarks}" if detail.remarks else ""
        lines.append(f"    {detail.label.ljust(width)}  {detail.line()}{detail.address}{note}")
    # Stored text was cleaned already. This protects the terminal from rows edited outside this program.
    return "\n".join(wrapped(printable(line), 6) for line in [*lines, *(f"  {line}" for line in more)])


def _elsewhere(approval: Approval) -> tuple[str, ...]:
    only = approval.details.only
    return () if only is None else (_DECIDED_ELSEWHERE[only],)


def _with_identity(guard: Guard, approval: Approval) -> Approval:
    items = approval.details.items + guard.approvals.identity.details(approval)
    return replace(approval, details=replace(approval.details, items=items))


def _status(approval: Approval) -> str:
    if approval.started_at is None:
        return f"open until {_time_of_day(approval.expires_at)}"
    return f"approved by {approval.decided_by or 'nobody'} and started at {_time_of_day(approval.started_at)}"


async def _why_not_waiting(guard: Guard, approval_id: str) -> str:
    approval = await guard.approvals.get(approval_id)
    if approval is None:
        return f"No approval has this id in {guard.store.folder}. Use the server's MACHINES_ENV, key and user."
    if not guard.approvals.is_expired(approval):
        return _ALREADY_DECIDED[approval.shown_state]
    if approval.policy != guard.policy.digest:
        return "This was requested under another policy. Set the server's MACHINES_POLICY, or have it requested again."
    unused = " It was approved, but not used in time." if approval.state == "granted" else ""
    return f"This approval expired.{unused} The assistant can request it again."


async def _why_not_approvable(guard: Guard, approval: Approval) -> str:
    if approval.details.only is not None:
        return _DECIDED_ELSEWHERE[approval.details.only]
    return MESSAGES["not_allowed"] if await guard.channels.ready() else MESSAGES["unset"]


def _time_of_day(at: float) -> str:
    return moment(at)[11:]

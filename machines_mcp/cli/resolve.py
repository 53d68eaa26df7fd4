"""Walking a person through what nobody else can say: each call that may have happened, at a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from machines_mcp.cli.approvals import outcome_message, plain
from machines_mcp.cli.audit import moment
from machines_mcp.cli.unresolved import UnresolvedCall, unresolved_calls
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.app import App, opened
from machines_mcp.server.settings import Settings
from machines_mcp.storage.audit_log import AuditEntry as Row
from machines_mcp.storage.withdrawals import StartedWithdrawal, Withdrawals

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.permissions.channels import Decision


Answer = Literal["yes", "no", "later"]

NO_TERMINAL = "A person must answer this, so it works at a terminal only; nothing was changed."
NOTHING = "Nothing is left for a person to say."
_QUESTION = "Did it happen? Look at Machines first [yes/no/later]"
_REFERENCE = "Its id there (of the card, or of the transaction)"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@+-]{3,127}")
_NUMBER = re.compile(r"[0-9_.:@+-]+")
_KEPT = "Kept: {what}. The assistant is told so when it repeats the call with its approval_id."
_STANDS_AGAINST: dict[Decision, str] = {
    "wrong": "That is not the passphrase; nothing was changed. The fifth wrong one within 15 minutes locks it.",
    "locked": "There were five wrong tries, so nothing was changed: for 15 minutes not even the right one is tried.",
    "unset": "No passphrase is set, so nothing can be changed; set one with machines-mcp passphrase.",
}


class Person(Protocol):
    """Who sits at the terminal."""

    def ask(self, what: str) -> Secret: ...
    def answer(self, question: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whether all could be dealt with (leaving it for later is that, too), and the last sentence."""

    ok: bool
    message: str


async def resolve(settings: Settings, person: Person, show: Callable[[str], None]) -> Resolved:
    """Find out what can be found out, then ask about each that is left.

    Raises:
        PolicyError: The policy's file is refused.
        StoreUnavailable: The state folder can't be used.
        NothingTyped: There was no passphrase to read.
    """
    async with opened(settings) as app:
        app.load()
        by_hand = await _look(app, show)
        left = [
            unresolved
            for unresolved in await unresolved_calls(app.guard)
            if unresolved.state == "manual" or unresolved.name in by_hand
        ]
        for unresolved in left:
            show(_shown(unresolved))
            stopped = await _decide(app, unresolved, person, show)
            if stopped is not None:
                return Resolved(False, stopped)
        still = {unresolved.name for unresolved in await unresolved_calls(app.guard)}
        settled = len([unresolved for unresolved in left if unresolved.name not in still])
    if not left:
        return Resolved(True, NOTHING)
    return Resolved(True, f"{settled} of {len(left)} settled.")


async def _look(app: App, show: Callable[[str], None]) -> set[str]:
    """What Machines can say, nobody else is asked about. The names of what it can't."""
    by_hand = set()
    for unresolved in await unresolved_calls(app.guard):
        if unresolved.state != "unknown" or unresolved.approval is None:
            continue
        authorization = await app.guard.authorizer.settle(unresolved.approval)
        if authorization is None:
            show(f"{plain(unresolved.name)}: found out by asking Machines.")
        elif authorization.verdict == "later":
            show(f"{plain(unresolved.name)}: can't be told yet; try again in a while.")
        else:
            by_hand.add(unresolved.name)
    return by_hand


def _shown(unresolved: UnresolvedCall) -> str:
    sent = [
        f"Sent: {entry.operation} at {moment(entry.sent_at)} UTC, {entry.attempts} times in all, the last at"
        f" {moment(entry.last_sent_at)} UTC, key {entry.idempotency_key or 'none'}; {entry.state}"
        for entry in unresolved.entries
    ]
    more = [
        *sent,
        *_of_withdrawal(unresolved.withdrawal),
        f"In doubt since {moment(unresolved.since)} UTC: {unresolved.why}",
    ]
    if unresolved.approval is None:
        return "\n".join(plain(line) for line in [unresolved.name, *(f"  {line}" for line in more)])
    return outcome_message(unresolved.approval, *more)


def _of_withdrawal(begun: StartedWithdrawal | None) -> list[str]:
    if begun is None:
        return []
    terms = begun.quote.terms
    memo = f" with memo {terms['extra_id']}" if terms.get("extra_id") else ""
    return [
        f"Withdrawal {begun.id} of {begun.quote.user_id} ({begun.status}): {terms.get('amount_cents')} cents as"
        f" {terms.get('currency')} on {terms.get('network')} to {terms.get('address')}{memo}"
    ]


async def _decide(app: App, unresolved: UnresolvedCall, person: Person, show: Callable[[str], None]) -> str | None:
    """Ask, and keep the answer. A sentence where going on makes no sense."""
    answer = _answer(person)
    if answer == "later":
        return None
    reference = None
    if answer == "yes":
        reference = person.answer(_REFERENCE)
        fault = await _fault(app, unresolved, reference)
        if fault is not None:
            show(fault)
            return None
    if app.policy.needs_passphrase:
        typed = person.ask("Your passphrase") if await app.guard.channels.ready() else None
        decision = await app.guard.channels.check_passphrase(typed, "terminal")
        if decision != "granted":
            return _STANDS_AGAINST[decision]
    await _keep(app, unresolved, reference)
    show(_KEPT.format(what="it happened" if reference else "it did not happen"))
    return None


def _answer(person: Person) -> Answer:
    for _ in range(3):
        typed = person.answer(_QUESTION).lower()
        if typed in ("yes", "y"):
            return "yes"
        if typed in ("no", "n"):
            return "no"
        if typed in ("later", "l", ""):
            break
    return "later"


async def _fault(app: App, unresolved: UnresolvedCall, reference: str) -> str | None:
    """What is wrong with an id that was typed."""
    from machines_mcp.partner.errors import NotFound, PartnerError

    if not _ID.fullmatch(reference) or _NUMBER.fullmatch(reference):
        return "That is no id (4 to 128 letters, digits and _.:@+-, not digits alone); nothing was changed."
    cards = [entry for entry in unresolved.entries if entry.operation == "POST /cards"]
    if unresolved.approval is None or not cards:
        return None
    for entry in cards:
        if reference in (await app.guard.journal.concurrent_requests(entry)).created:
            return "That card was made by another call; nothing was changed."
    try:
        await (await app.connection.client()).cards.get(unresolved.approval.user_id, reference)
    except NotFound:
        return "Machines has no such card of this user; nothing was changed."
    except PartnerError as error:
        return f"Machines can't be asked about that card now; nothing was changed. {error}"
    return None


async def _keep(app: App, unresolved: UnresolvedCall, reference: str | None) -> None:
    """The audit and what the call's own tool goes by, all or nothing; then its outcome, which follows from these."""
    guard, approval = app.guard, unresolved.approval
    verdict = "happened" if reference else "not_happened"
    user_id = unresolved.withdrawal.quote.user_id if unresolved.withdrawal else approval.user_id if approval else None
    row = Row(
        kind="decision",
        tool=approval.tool if approval else "create_withdrawal",
        action_class=approval.action_class if approval else None,
        user_id=user_id,
        approval_id=approval.id if approval else None,
        verdict=verdict,
        code="resolved",
        by="terminal",
        card_id=approval.card_id if approval else None,
        amount_cents=approval.amount_cents if approval else None,
    )

    def work(db: sqlite3.Connection) -> None:
        guard.audit.append_in(db, row)
        if unresolved.withdrawal is not None:
            Withdrawals(app.store).record_in(db, unresolved.withdrawal.id, "confirmed" if reference else "rejected")
        for entry in unresolved.entries:
            guard.journal.resolve_in(db, entry.id, reference, "terminal")

    await app.store.run(work)
    if approval is None:
        return
    authorization = await guard.authorizer.settle(approval)
    if authorization is not None and authorization.verdict == "manual":
        # Its tool can't say more than the person did.
        refusal = ToolError(Code.OUTCOME_UNKNOWN if reference else Code.APPROVAL_EXPIRED, message=_said(reference))
        await guard.approvals.finish(approval.id, json.dumps(refusal.payload()), ok=False, code=refusal.code.value)


def _said(reference: str | None) -> str:
    if reference:
        return "A person looked at Machines and says that this happened. Do not repeat it."
    return "A person looked at Machines and says that this did not happen. Call without approval_id to ask anew."

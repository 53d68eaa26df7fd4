"""Guide a person at a terminal through calls whose outcome is unknown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from machines_mcp.cli.approvals import format_approval
from machines_mcp.cli.unresolved import UnresolvedCall, unresolved_calls
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.redaction.characters import printable
from machines_mcp.redaction.display import dollars, moment, others_unresolved
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.app import App, opened
from machines_mcp.server.settings import Settings
from machines_mcp.storage.audit_log import AuditEntry as Row
from machines_mcp.storage.withdrawals import StartedWithdrawal, Withdrawals

if TYPE_CHECKING:
    import sqlite3


OutcomeAnswer = Literal["yes", "no", "later"]

NO_TERMINAL = "A person must answer this, so it only works at a terminal. Nothing was changed."
NOTHING = "No unresolved call needs a person."
_QUESTION = "Did it happen? Check at Machines first [yes/no/later]"
_REFERENCE_QUESTION = "Its id at Machines (of the card or the transaction)"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@+-]{3,127}")
_NUMBER = re.compile(r"[0-9_.:@+-]+")
_SAVED = "Saved: {what}. The assistant will be told when it asks again."


class Prompt(Protocol):
    """The person at the terminal."""

    def read_secret(self, what: str) -> Secret: ...
    def read_answer(self, question: str) -> str: ...


@dataclass(frozen=True, slots=True)
class ResolveResult:
    """Whether every call was handled (leaving one for later counts), and the closing message."""

    ok: bool
    message: str


async def resolve(settings: Settings, prompt: Prompt, show: Callable[[str], None]) -> ResolveResult:
    """Reconcile what Machines can tell, then ask the person about each remaining call.

    Raises:
        PolicyError: The policy file is invalid.
        StoreUnavailable: The state folder can't be used.
        NoInput: No passphrase was typed.
    """
    async with opened(settings) as app:
        needs_person = await _reconcile(app, show)
        remaining = [
            unresolved
            for unresolved in (await unresolved_calls(app.guard)).calls
            if unresolved.state == "needs_person" or unresolved.name in needs_person
        ]
        for unresolved in remaining:
            show(_describe(unresolved))
            stopped = await _resolve_one(app, unresolved, prompt, show)
            if stopped is not None:
                return ResolveResult(False, stopped)
        left = await unresolved_calls(app.guard)
        still = {unresolved.name for unresolved in left.calls}
        resolved_count = len([unresolved for unresolved in remaining if unresolved.name not in still])
    done = f"{resolved_count} of {len(remaining)} resolved." if remaining else NOTHING
    return ResolveResult(True, f"{done} {others_unresolved(left.others)}" if left.others else done)


async def _reconcile(app: App, show: Callable[[str], None]) -> set[str]:
    """Reconcile unknown calls with Machines. Return the names of those that only a person can resolve."""
    needs_person = set()
    for unresolved in (await unresolved_calls(app.guard)).calls:
        if unresolved.state != "unknown" or unresolved.approval is None:
            continue
        authorization = await app.load().reconciler.reconcile(unresolved.approval)
        if authorization is None:
            show(f"{printable(unresolved.name)}: resolved by asking Machines.")
        elif authorization.verdict == "later":
            show(f"{printable(unresolved.name)}: not known yet; try again later.")
        else:
            needs_person.add(unresolved.name)
    return needs_person


def _describe(unresolved: UnresolvedCall) -> str:
    sent = [
        f"Sent: {entry.operation} at {moment(entry.sent_at)} UTC, attempts: {entry.attempts}, the last at"
        f" {moment(entry.last_sent_at)} UTC, key {entry.idempotency_key or 'none'}; {entry.state}"
        for entry in unresolved.entries
    ]
    more = [
        *sent,
        *_withdrawal_lines(unresolved.withdrawal),
        f"Unresolved since {moment(unresolved.since)} UTC: {unresolved.why}",
    ]
    if unresolved.approval is None:
        return "\n".join(printable(line) for line in [unresolved.name, *(f"  {line}" for line in more)])
    return format_approval(unresolved.approval, *more)


def _withdrawal_lines(begun: StartedWithdrawal | None) -> list[str]:
    if begun is None:
        return []
    terms = begun.quote.terms
    memo = f" with memo {terms['extra_id']}" if terms.get("extra_id") else ""
    return [
        f"Withdrawal {begun.id} for {begun.quote.user_id} ({begun.status}): {dollars(terms['amount_cents'])} as"
        f" {terms.get('currency')} on {terms.get('network')} to {terms.get('address')}{memo}"
    ]


async def _resolve_one(app: App, unresolved: UnresolvedCall, prompt: Prompt, show: Callable[[str], None]) -> str | None:
    """Ask the person and store the answer. Return a message if the session must stop."""
    answer = _ask_outcome(prompt)
    if answer == "later":
        return None
    reference = None
    if answer == "yes":
        reference = prompt.read_answer(_REFERENCE_QUESTION)
        error_message = await _reference_error(app, unresolved, reference)
        if error_message is not None:
            show(error_message)
            return None
    if app.policy.needs_passphrase:
        typed = prompt.read_secret("Your passphrase") if await app.guard.channels.ready() else None
        decision = await app.guard.channels.check_passphrase(typed, "terminal")
        if decision != "granted":
            return await app.guard.passphrase.tries.explain(decision, "terminal")
    await _store_answer(app, unresolved, reference)
    show(_SAVED.format(what="it happened" if reference else "it did not happen"))
    return None


def _ask_outcome(prompt: Prompt) -> OutcomeAnswer:
    for _ in range(3):
        typed = prompt.read_answer(_QUESTION).lower()
        if typed in ("yes", "y"):
            return "yes"
        if typed in ("no", "n"):
            return "no"
        if typed in ("later", "l", ""):
            break
    return "later"


async def _reference_error(app: App, unresolved: UnresolvedCall, reference: str) -> str | None:
    """Return what is wrong with the id that was typed, or None."""
    from machines_mcp.partner.errors import NotFound, PartnerError

    if not _ID.fullmatch(reference) or _NUMBER.fullmatch(reference):
        return "That is not an id (4 to 128 letters, digits and _.:@+-, not only digits). Nothing was changed."
    cards = [entry for entry in unresolved.entries if entry.operation == "POST /cards"]
    if unresolved.approval is None or not cards:
        return None
    for entry in cards:
        if reference in (await app.guard.journal.concurrent_requests(entry)).created:
            return "Another call created that card. Nothing was changed."
    try:
        await (await app.connection.client()).cards.get(unresolved.approval.user_id, reference)
    except NotFound:
        return "This user has no such card at Machines. Nothing was changed."
    except PartnerError as error:
        return f"Could not check that card at Machines. Nothing was changed. {error}"
    return None


async def _store_answer(app: App, unresolved: UnresolvedCall, reference: str | None) -> None:
    """Store the answer and its audit row in one transaction, then the call's outcome that follows from them."""
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
    authorization = await app.load().reconciler.reconcile(approval)
    if authorization is not None and authorization.verdict == "needs_person":
        # The tool can't add to the person's answer.
        refusal = ToolError(
            Code.OUTCOME_UNKNOWN if reference else Code.APPROVAL_EXPIRED, message=_message_for_model(reference)
        )
        await guard.approvals.finish(approval.id, json.dumps(refusal.payload()), ok=False, code=refusal.code.value)


def _message_for_model(reference: str | None) -> str:
    if reference:
        return "A person checked at Machines: this happened. Do not repeat it."
    return "A person checked at Machines: this did not happen. Call without approval_id to request it again."

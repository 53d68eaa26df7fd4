"""What a person's decision, its absence or a limit means for a call, in words of the catalogue."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NoReturn

from machines_mcp.guard.bar import Barred
from machines_mcp.guard.gate import Passage
from machines_mcp.guard.intent import Intent
from machines_mcp.guard.limits import CLOCK_SET_BACK
from machines_mcp.protocol.refusal import Code, Refusal, Step
from machines_mcp.protocol.shaping import STATUS
from machines_mcp.protocol.tool import Tool

_ANEW = "The same call without approval_id, to ask anew."


def refuse(tool: Tool, passage: Passage) -> NoReturn:
    """Refuse a call that neither waits nor runs. Its arguments are not repeated here."""
    if passage.verdict == "barred" and passage.bar is not None:
        raise barred(passage.bar)
    match passage.verdict:
        case "refused":
            raise Refusal(Code.APPROVAL_REFUSED, next_steps=[STATUS])
        case "expired":
            raise Refusal(Code.APPROVAL_EXPIRED, next_steps=[Step(tool.name, _ANEW)])
        case "running":
            raise Refusal(Code.OUTCOME_UNKNOWN, next_steps=[STATUS])
        case _:
            raise Refusal(Code.APPROVAL_MISMATCH, next_steps=[Step(tool.name, _ANEW)])


def barred(bar: Barred) -> Refusal:
    """A limit of the policy, named by its path, or a pause, with its end."""
    if bar.code == CLOCK_SET_BACK:
        message = "The clock of the server's machine was set back, so no limit can be kept; tell the operator."
        return Refusal(Code.POLICY_DENIED, message=message, details={"limit": bar.code}, next_steps=[STATUS])
    if bar.until is None:
        message = f"A limit of the operator's policy forbids this: {bar.code}. It can't be approved either."
        return Refusal(Code.POLICY_DENIED, message=message, details={"limit": bar.code}, next_steps=[STATUS])
    until = datetime.fromtimestamp(bar.until, UTC).isoformat(timespec="seconds")
    message = "A person refused this three times within ten minutes, so it is paused; do not ask again before then."
    return Refusal(Code.POLICY_DENIED, message=message, details={"paused_until": until}, next_steps=[STATUS])


def required(tool: Tool, intent: Intent, *, page: str | None, desk: str | None, decidable: bool) -> Refusal:
    """A person must decide first, and where they can: on a page of its own, at the desk, or in a terminal."""
    details = {"approval_id": intent.id}
    if page is not None:
        details |= {"where": f"the user opens this page on this machine and decides there: {page}", "page": page}
    elif not decidable:
        details["where"] = "nowhere yet: the operator must first set a passphrase with machines-mcp passphrase"
    else:
        terminal = "in a terminal on this machine with machines-mcp approve"
        details["where"] = terminal if desk is None else f"at the desk, {desk}, or {terminal}"
        if desk is not None:
            details["desk"] = desk
    again = Step(tool.name, "The same call, after the person approved.", {"approval_id": intent.id})
    return Refusal(Code.APPROVAL_REQUIRED, details=details, next_steps=[again])

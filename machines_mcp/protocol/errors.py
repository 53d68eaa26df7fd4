"""The closed catalogue of errors. No text from upstream, from an exception or from an argument stands in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """What went wrong, as a caller can act on it."""

    INPUT_INVALID = "input.invalid"
    TOOL_UNKNOWN = "tool.unknown"
    POLICY_DENIED = "policy.denied"
    APPROVAL_REQUIRED = "approval.required"
    APPROVAL_REFUSED = "approval.refused"
    APPROVAL_EXPIRED = "approval.expired"
    APPROVAL_MISMATCH = "approval.mismatch"
    KYC_NOT_APPROVED = "kyc.not_approved"
    AGREEMENTS_NOT_ACCEPTED = "agreements.not_accepted"
    QUOTE_EXPIRED = "quote.expired"
    QUOTE_USED = "quote.used"
    NOT_FOUND = "not_found"
    AUTH_REJECTED = "auth.rejected"
    PARTNER_UNAVAILABLE = "partner.unavailable"
    PARTNER_REJECTED = "partner.rejected"
    PARTNER_MALFORMED = "partner.malformed"
    RATE_LIMITED = "rate.limited"
    OUTCOME_UNKNOWN = "outcome.unknown"
    REVEAL_FAILED = "reveal.failed"
    STATE_UNAVAILABLE = "state.unavailable"
    OUTPUT_BLOCKED = "output.blocked"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class _Entry:
    message: str
    retryable: bool = False


_CATALOGUE: Mapping[Code, _Entry] = {
    Code.INPUT_INVALID: _Entry("The arguments don't fit the tool; mend the named fields and call again.", True),
    Code.TOOL_UNKNOWN: _Entry("There is no such tool; the tools are those of tools/list."),
    Code.POLICY_DENIED: _Entry("The operator's policy does not allow this. No call changes that; tell the user."),
    Code.APPROVAL_REQUIRED: _Entry(
        "A person must approve this first. When they have, call again with the same arguments and this approval_id.",
        True,
    ),
    Code.APPROVAL_REFUSED: _Entry("The person did not approve this. Do not ask again unless they want it."),
    Code.APPROVAL_EXPIRED: _Entry(
        "The approval was not given or not used in time; call again without approval_id to ask anew.", True
    ),
    Code.APPROVAL_MISMATCH: _Entry(
        "This approval_id does not belong to this call with these arguments; call without approval_id to ask anew.",
        True,
    ),
    Code.KYC_NOT_APPROVED: _Entry("The user's identity check (KYC) is not approved yet."),
    Code.AGREEMENTS_NOT_ACCEPTED: _Entry("The user has not accepted the agreements yet."),
    Code.QUOTE_EXPIRED: _Entry("The quote is older than 10 minutes; ask for a new one.", True),
    Code.QUOTE_USED: _Entry(
        "The quote was used for a withdrawal already, and each works once. Only if the user wants another withdrawal"
        " besides that one, get a new quote with quote_withdrawal."
    ),
    Code.NOT_FOUND: _Entry("Nothing with this id belongs to this user."),
    Code.AUTH_REJECTED: _Entry("Machines does not accept the partner key or its rights; the operator must check it."),
    Code.PARTNER_UNAVAILABLE: _Entry("Machines can't be reached or is failing right now; nothing was changed.", True),
    Code.PARTNER_REJECTED: _Entry(
        "Machines did not accept the request, nothing was changed, and the same call would be refused again."
    ),
    Code.PARTNER_MALFORMED: _Entry("Machines answered in a form this server does not understand; tell the operator."),
    Code.RATE_LIMITED: _Entry("Machines asks to slow down; call again later.", True),
    Code.OUTCOME_UNKNOWN: _Entry(
        "It is not known whether this happened. Do not repeat it; look at the current state first."
    ),
    Code.REVEAL_FAILED: _Entry("The card's details could not be fetched, decrypted and verified; nothing was shown."),
    Code.STATE_UNAVAILABLE: _Entry("The server's state folder can't be used, so nothing was done; tell the operator."),
    Code.OUTPUT_BLOCKED: _Entry("The answer was withheld because it would have shown a secret; tell the operator."),
    Code.INTERNAL: _Entry("The server failed in a way it did not foresee; nothing more is known. Tell the operator."),
}


NOT_BEGUN = frozenset({Code.PARTNER_UNAVAILABLE, Code.RATE_LIMITED})
"""What says that nothing was changed and that the same call may go well later."""


@dataclass(frozen=True, slots=True)
class NextStep:
    """A call that makes sense next: the tool, why, and the arguments already known."""

    tool: str
    why: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def payload(self) -> dict[str, Any]:
        """The step as JSON."""
        return {"tool": self.tool, "why": self.why, "arguments": dict(self.arguments)}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One argument at fault: its name (or a placeholder, where the name came from outside) and the rule it breaks."""

    field: str
    rule: str


class ToolError(Exception):
    """An error of the catalogue. `details` are values this server made itself: ids, seconds, its own enums."""

    def __init__(
        self,
        code: Code,
        *,
        message: str | None = None,
        faults: Sequence[FieldError] = (),
        next_steps: Sequence[NextStep] = (),
        details: Mapping[str, str | int] | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(code.value)
        self.code = code
        self.message = message or _CATALOGUE[code].message
        self.fields = tuple(faults)
        self.next_steps = tuple(next_steps)
        self.details = dict(details or {})
        self.retryable = _CATALOGUE[code].retryable if retryable is None else retryable

    def payload(self) -> dict[str, Any]:
        """The error as the one JSON object that a tool result carries."""
        body: dict[str, Any] = {
            "code": self.code.value,
            "message": self.message,
            "retryable": self.retryable,
        }
        if self.fields:
            body["fields"] = [{"field": fault.field, "rule": fault.rule} for fault in self.fields]
        return body | self.details | {"next_steps": [step.payload() for step in self.next_steps]}

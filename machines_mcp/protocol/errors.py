"""The closed catalogue of tool errors. They never contain text from the API, an exception or an argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """Error codes that a caller can act on."""

    INPUT_INVALID = "input.invalid"
    TOOL_UNKNOWN = "tool.unknown"
    POLICY_DENIED = "policy.denied"
    POLICY_FROZEN = "policy.frozen"
    APPROVAL_REQUIRED = "approval.required"
    APPROVAL_REFUSED = "approval.refused"
    APPROVAL_WITHDRAWN = "approval.withdrawn"
    APPROVAL_NOT_WAITING = "approval.not_waiting"
    APPROVAL_EXPIRED = "approval.expired"
    APPROVAL_MISMATCH = "approval.mismatch"
    KYC_NOT_APPROVED = "kyc.not_approved"
    AGREEMENTS_NOT_ACCEPTED = "agreements.not_accepted"
    QUOTE_EXPIRED = "quote.expired"
    QUOTE_USED = "quote.used"
    WITHDRAWAL_NOT_READY = "withdrawal.not_ready"
    WITHDRAWAL_EXPIRED = "withdrawal.expired"
    WITHDRAWAL_STALE = "withdrawal.stale"
    WITHDRAWAL_UNSUPPORTED = "withdrawal.unsupported"
    SIGNATURE_WRONG = "signature.wrong"
    CHAIN_REFUSED = "chain.refused"
    CHAIN_UNAVAILABLE = "chain.unavailable"
    NOT_FOUND = "not_found"
    USER_UNKNOWN = "user.unknown"
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
    Code.INPUT_INVALID: _Entry("Invalid arguments. Fix the listed fields and call again.", True),
    Code.TOOL_UNKNOWN: _Entry("Unknown tool. Use a tool from tools/list."),
    Code.POLICY_DENIED: _Entry("The operator's policy does not allow this. No tool can change that; tell the user."),
    Code.POLICY_FROZEN: _Entry(
        "A person froze changes, so nothing was done. Reads and locking a card still work. Tell the user that a person"
        " can lift the freeze with machines-mcp unfreeze."
    ),
    Code.APPROVAL_REQUIRED: _Entry(
        "A person must approve this first. Tell the user where, then make the call in next_steps, which waits for the"
        " decision."
    ),
    Code.APPROVAL_REFUSED: _Entry("The person refused this. Do not call again unless they want it."),
    Code.APPROVAL_WITHDRAWN: _Entry(
        "This request was withdrawn with cancel_approval, and nothing was done. Only if the user wants the call after"
        " all, make it without approval_id: a person is asked anew."
    ),
    Code.APPROVAL_NOT_WAITING: _Entry("This request no longer waits, so it can't be withdrawn."),
    Code.APPROVAL_EXPIRED: _Entry("This approval expired. Call again without approval_id to request a new one.", True),
    Code.APPROVAL_MISMATCH: _Entry(
        "This approval_id is for another call; fields says what differs. Repeat that call. Only if the user wants this"
        " one instead, leave out approval_id, and a person is asked again.",
        True,
    ),
    Code.KYC_NOT_APPROVED: _Entry("The user's identity check (KYC) is not approved yet."),
    Code.AGREEMENTS_NOT_ACCEPTED: _Entry("The user has not accepted the agreements yet."),
    Code.QUOTE_EXPIRED: _Entry("This quote is older than 10 minutes. Get a new one.", True),
    Code.QUOTE_USED: _Entry(
        "This quote was already used for a withdrawal. Only if the user wants a second withdrawal, get a new quote with"
        " quote_withdrawal."
    ),
    Code.WITHDRAWAL_NOT_READY: _Entry(
        "Machines has not signed this withdrawal yet. Repeat create_withdrawal with its approval_id.", True
    ),
    Code.WITHDRAWAL_EXPIRED: _Entry(
        "The signature of Machines has expired. Unless a wallet sent the transaction before that, nothing moved. Quote"
        " it again."
    ),
    Code.WITHDRAWAL_STALE: _Entry(
        "The collateral's nonce has moved, so the signatures are void. If a wallet sent this withdrawal, confirm it."
        " Otherwise quote it again once the signature has expired."
    ),
    Code.WITHDRAWAL_UNSUPPORTED: _Entry("This server can't prepare a transaction for this withdrawal."),
    Code.SIGNATURE_WRONG: _Entry("This signature is not that of the account that must sign.", True),
    Code.CHAIN_REFUSED: _Entry("A check of the transaction failed. This call moved nothing."),
    Code.CHAIN_UNAVAILABLE: _Entry("The chain's node can't be used right now.", True),
    Code.NOT_FOUND: _Entry("No such user, or the user has no card, deposit, withdrawal or quote with this id."),
    Code.USER_UNKNOWN: _Entry(
        "This server has not resolved a user with this id yet. Check the id; if it is right, call resolve_user first.",
        True,
    ),
    Code.AUTH_REJECTED: _Entry("Machines rejected the partner key or its permissions. Tell the operator."),
    Code.PARTNER_UNAVAILABLE: _Entry("Machines is unreachable or failing right now. Nothing was changed.", True),
    Code.PARTNER_REJECTED: _Entry(
        "Machines rejected the request, and nothing was changed. The same call would be rejected again."
    ),
    Code.PARTNER_MALFORMED: _Entry(
        "Machines sent a response that can't be read or does not fit the request. Tell the operator."
    ),
    Code.RATE_LIMITED: _Entry("Machines is limiting the request rate. Call again later.", True),
    Code.OUTCOME_UNKNOWN: _Entry(
        "It is unknown whether this happened. Do not repeat it; check the current state first."
    ),
    Code.REVEAL_FAILED: _Entry("The card details could not be fetched, decrypted and verified. Nothing was shown."),
    Code.STATE_UNAVAILABLE: _Entry("The server can't use its state folder, so nothing was done. Tell the operator."),
    Code.OUTPUT_BLOCKED: _Entry(
        "The response was withheld because it would have shown a secret or could not be checked. If the call can change"
        " something, check the current state before you repeat it. Tell the operator."
    ),
    Code.INTERNAL: _Entry("The server failed unexpectedly, and no details are available. Tell the operator."),
}


NOT_BEGUN = frozenset({Code.PARTNER_UNAVAILABLE, Code.RATE_LIMITED, Code.POLICY_FROZEN})
"""Codes that mean nothing was changed and the same call may succeed later."""

REPEATABLE = (NOT_BEGUN - {Code.POLICY_FROZEN}) | {Code.OUTCOME_UNKNOWN, Code.APPROVAL_REQUIRED, Code.APPROVAL_EXPIRED}
"""Codes after which the same call, unchanged, can succeed. After every other code it would fail again."""


@dataclass(frozen=True, slots=True)
class NextStep:
    """A suggested next call: the tool, why, and the arguments already known.

    One that `repeats` the failed call gets that call's own arguments, too, when the error is sent.
    """

    tool: str
    why: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    repeats: bool = False

    def payload(self) -> dict[str, Any]:
        """Return the step as JSON, with `repeats` if it does."""
        step = {"tool": self.tool, "why": self.why, "arguments": dict(self.arguments)}
        return step | {"repeats": True} if self.repeats else step


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid argument: its name (or a placeholder if the caller made the name up) and the rule it breaks."""

    field: str
    rule: str


class ToolError(Exception):
    """An error from the catalogue. `details` holds only values this server made: ids, seconds, its own enums."""

    def __init__(
        self,
        code: Code,
        *,
        message: str | None = None,
        fields: Sequence[FieldError] = (),
        next_steps: Sequence[NextStep] = (),
        details: Mapping[str, str | int] | None = None,
        retryable: bool | None = None,
        give_again: Sequence[str] = (),
    ) -> None:
        super().__init__(code.value)
        self.code = code
        self.message = message or _CATALOGUE[code].message
        self.fields = tuple(fields)
        self.next_steps = tuple(next_steps)
        self.details = dict(details or {})
        self.give_again = tuple(give_again)
        self.retryable = _CATALOGUE[code].retryable if retryable is None else retryable

    def payload(self) -> dict[str, Any]:
        """Return the error as the JSON object of a tool result."""
        body: dict[str, Any] = {
            "code": self.code.value,
            "message": self.message,
            "retryable": self.retryable,
        }
        if self.fields:
            body["fields"] = [{"field": fault.field, "rule": fault.rule} for fault in self.fields]
        if self.give_again:
            body["give_again"] = list(self.give_again)
        return body | self.details | {"next_steps": [step.payload() for step in self.next_steps]}

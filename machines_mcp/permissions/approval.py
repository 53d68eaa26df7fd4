"""An approval: a call that a person must decide on, with the question and the state."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import WITHDRAWN, ApprovalDetails, CallRequest, Detail, Withdrawn
from machines_mcp.permissions.protective import LOCKS_TOO, PROTECTIVE
from machines_mcp.redaction.quoting import without_markup
from machines_mcp.storage.audit_log import AuditEntry, Kind

State = Literal["waiting", "granted", "executing", "done", "failed", "refused"]


@dataclass(frozen=True, slots=True)
class Approval:
    """One row: the requested call, the question shown to the person, and its state."""

    id: str
    tool: str
    action_class: str
    user_id: str
    digest: str
    question: str
    state: State
    created_at: float
    expires_at: float
    decided_by: str | None
    outcome: str | None
    asked_by: str
    policy: str
    details: ApprovalDetails
    amount_cents: int | None
    card_id: str | None
    decided_at: float | None
    started_at: float | None = None
    owner: str | None = None
    """The process that took the grant; empty after it gave up, None if the row is older than the journal."""
    sealed: bytes | None = field(default=None, repr=False)
    """The masked identity data, encrypted; see `sealed_identity`."""

    @property
    def idempotency_key(self) -> str:
        """The idempotency key of every API request made for this approval."""
        return f"machines-{self.id}"

    @property
    def shown_state(self) -> State | Withdrawn:
        """The state for people and models: a withdrawn request is told apart from a refused one."""
        return WITHDRAWN if self.state == "refused" and self.decided_by == WITHDRAWN else self.state

    @property
    def started(self) -> bool:
        """Whether the call has run, or runs, so that it may have had an effect."""
        return self.state in ("executing", "done", "failed")

    @property
    def returned(self) -> bool:
        """Whether an earlier try used the grant and gave it back."""
        return self.state == "granted" and self.started_at is not None

    @property
    def request(self) -> CallRequest:
        """The call that the approval is for."""
        return CallRequest(
            self.tool,
            ActionClass(self.action_class),
            self.user_id,
            self.digest,
            self.asked_by,
            self.details.protective,
        )

    def dialog(self, identity: Sequence[Detail] = ()) -> str:
        """Return the text of the client's dialog: the question, every detail, and who asked.

        `identity` is masked identity data that the client itself sent.
        """
        who = f"“{self.asked_by}” (self-reported name)" if self.asked_by else "an unnamed program"
        rows = [_line(item) for item in (*self.details.items, *self.details.context, *identity)]
        return "\n".join([self.question, *rows, f"Asked by {who}."])


def _line(item: Detail) -> str:
    return f"{item.label}: {item.line(without_markup)}{item.address}{item.remarks}"


def arguments_digest(key: bytes, arguments: Mapping[str, Any]) -> str:
    """Return the HMAC-SHA-256 of the canonical JSON of validated arguments. Equal calls have equal digests.

    Keyed, because arguments may be identity data, and a plain hash of few possible values can be guessed.
    """
    canonical = json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key, canonical.encode(), hashlib.sha256).hexdigest()


def each_digest(key: bytes, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return 64 bits of the digest of each argument that is not None, by which a repeated call's are compared."""
    return {name: arguments_digest(key, {name: value})[:16] for name, value in arguments.items() if value is not None}


def admission_entry(call_request: CallRequest, details: ApprovalDetails, nobody: str) -> AuditEntry:
    """Return the audit entry for a call that needs no approval, from before it runs.

    `nobody` stands for the user of a call that names none.
    """
    return AuditEntry(
        kind="call",
        tool=call_request.tool,
        action_class=call_request.action_class.value,
        user_id=call_request.user_id or nobody or None,
        verdict="executing",
        code=PROTECTIVE if call_request.protective else LOCKS_TOO if call_request.locks else None,
        sink=details.sink,
        card_id=details.card_id,
    )


def audit_entry(kind: Kind, approval: Approval, verdict: str | None = None, code: str | None = None) -> AuditEntry:
    """Return the audit entry for a change to an approval."""
    if kind == "call" and approval.details.protective:
        code = PROTECTIVE
    return AuditEntry(
        kind=kind,
        tool=approval.tool,
        action_class=approval.action_class,
        user_id=approval.user_id,
        approval_id=approval.id,
        verdict=verdict,
        code=code,
        by=approval.decided_by,
        sink=approval.details.sink,
        card_id=approval.card_id,
        amount_cents=approval.amount_cents,
    )

"""Authorize tool calls: allow, require approval, or deny, according to the policy.

Decisions come from the policy and the stored approvals. Call arguments never grant permission.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.approvals import ApprovalStore
from machines_mcp.permissions.channels import ApprovalChannels
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.freezes import Freezes
from machines_mcp.permissions.policy import Policy, Rule
from machines_mcp.storage.audit_log import AuditEntry, AuditLog
from machines_mcp.storage.freeze import Frozen
from machines_mcp.storage.principal import Principal

Verdict = Literal[
    "run",
    "repeat",
    "running",
    "running_on_page",
    "interrupted",
    "later",
    "needs_person",
    "waiting",
    "refused",
    "withdrawn",
    "expired",
    "mismatch",
    "limit_exceeded",
]


@dataclass(frozen=True, slots=True)
class Authorization:
    """The result of authorizing a call. `approval` is set if a person decides, `limit` if a limit or cooldown bars it.

    `running_on_page`: the call's own page executes it and finishes within seconds. `interrupted`: it started, and no
    process executes it any more, so it must be reconciled. Reconciling then yields `needs_person` if a person must
    resolve it, or `later` if the outcome can't be known for another `seconds`. `why` says what is known so far.
    """

    verdict: Verdict
    approval: Approval | None = None
    limit: LimitExceeded | None = None
    seconds: float | None = None
    why: str | None = None


class Authorizer:
    """Authorizes calls. `approves_all` is the operator's `call --approve`, which only `embedded` accepts."""

    def __init__(
        self,
        policy: Policy,
        approvals: ApprovalStore,
        channels: ApprovalChannels,
        freezes: Freezes,
        audit: AuditLog,
        principal: Principal,
        *,
        approves_all: bool = False,
    ) -> None:
        self.policy = policy
        self._audit = audit
        self._principal = principal
        self._approvals = approvals
        self._channels = channels
        self._freezes = freezes
        self._approves_all = approves_all

    def rule(self, action_class: ActionClass, tool: str) -> Rule:
        """Return the policy's rule for a tool's calls of this class."""
        return self.policy.rule(action_class, tool)

    async def dialog_can_approve(self, approval: Approval) -> bool:
        """Return whether the client's dialog can decide this approval."""
        return await self._channels.can_approve(approval, "dialog")

    async def can_be_approved(self) -> bool:
        """Return whether approvals can be granted now. Outside `embedded` this requires a passphrase."""
        return await self._channels.ready()

    async def waiting(self, approval_id: str) -> Approval | None:
        """Return the approval if it is waiting for a decision, else None."""
        return await self._channels.get(approval_id)

    async def refuse_if_frozen(self, call_request: CallRequest, approval_id: str | None) -> None:
        """Refuse a call before anything is sent for it, unless it only protects or ran before under this approval.

        Raises:
            Frozen: The changes of its user are frozen.
        """
        if call_request.protective:
            return
        try:
            await self._freezes.refuse(call_request.user_id)
        except Frozen:
            approval = None if approval_id is None else await self._approvals.get(approval_id)
            # Of a call that ran, only the outcome is looked up. The grant's use and the journal still refuse changes.
            if approval is None or not (approval.started and _is_of(approval, call_request)):
                raise

    async def admit(self, call_request: CallRequest) -> None:
        """Authorize a write that needs no approval: check the limits and record it in the audit log.

        Raises:
            LimitExceeded: A limit forbids it.
            Frozen: The changes of its user are frozen.
            StoreUnavailable: The audit log can't be written.
        """
        if call_request.locks:
            # Those that ended don't count against this one.
            await self._audit.flush()
        await self._approvals.admit(call_request)

    def record(
        self,
        call_request: CallRequest | None,
        code: str,
        *,
        kind: Literal["call", "outcome"] = "call",
        approval_id: str | None = None,
        verdict: str | None = None,
    ) -> None:
        """Record in the audit log a call that changed nothing, or the outcome of a write.

        Without a `call_request`, the call named no tool of ours. The name it used is model text and is not recorded.
        A call that names no user is the principal's, so that only its own servers show it.
        """
        self._audit.note(
            AuditEntry(
                kind=kind,
                tool=None if call_request is None else call_request.tool,
                action_class=None if call_request is None else call_request.action_class.value,
                user_id=(call_request.user_id if call_request else "") or self._principal.recorded_as,
                approval_id=approval_id,
                verdict=verdict,
                code=code,
            )
        )

    async def resume(self, call_request: CallRequest, approval_id: str) -> Authorization:
        """Judge a call that passes an approval id: run it if granted, repeat its outcome, or say what is missing."""
        approval = await self._approvals.get(approval_id)
        if approval is None or not _is_of(approval, call_request):
            return Authorization("mismatch", approval)
        if approval.state == "executing" and not self._approvals.running(approval):
            return Authorization("interrupted", approval)
        if approval.state == "executing" and approval.details.only is not None:
            return Authorization("running_on_page", approval)
        return await self._evaluate(approval, self._approvals.is_expired(approval))

    async def asked_about(self, call_request: CallRequest, approval_id: str) -> bool:
        """Return whether the approval is for this call."""
        approval = await self._approvals.get(approval_id)
        return approval is not None and _is_of(approval, call_request)

    async def request(
        self, call_request: CallRequest, details: ApprovalDetails, rule: Rule | None = None
    ) -> Authorization:
        """Create an approval for the call, or run it now if the `rule` (by default the policy's) or the operator has
        already allowed it."""
        rule = rule or self.rule(call_request.action_class, call_request.tool)
        by = self._approved_in_advance(rule) if details.only is None else None
        try:
            if by is not None:
                return Authorization("run", await self._approvals.open_granted(call_request, details, by))
            return Authorization("waiting", await self._approvals.open(call_request, details))
        except LimitExceeded as exceeded:
            return Authorization("limit_exceeded", limit=exceeded)

    def _approved_in_advance(self, rule: Rule) -> Literal["operator", "policy"] | None:
        if self._approves_all:
            return "operator"
        return "policy" if rule is Rule.ALLOW else None

    async def decide(self, approval: Approval, *, yes: bool, asked: bool = True) -> Authorization:
        """Record the person's decision from the dialog. A late or second yes runs nothing.

        Unless this call `asked`, the dialog may not be allowed to decide this approval. Then it goes on waiting.

        Raises:
            Frozen: The person said yes, but changes are frozen. The approval goes on waiting.
        """
        if not asked and not await self._channels.can_approve(approval, "dialog"):
            return Authorization("waiting", approval)
        if not yes:
            await self._channels.refuse(approval.id, "dialog")
            return Authorization("refused", approval)
        try:
            decision = await self._channels.grant_or_raise(approval.id, "dialog")
        except LimitExceeded as exceeded:
            return Authorization("limit_exceeded", approval, exceeded)
        if decision == "granted":
            return await self._consume(approval)
        return await self.reevaluate(approval)

    async def return_grant(self, approval: Approval) -> None:
        """Restore a grant whose execution started nothing, so that the same call can use it again."""
        await self._approvals.return_grant(approval.id)

    async def reopen(self, approval: Approval) -> None:
        """Return an approval to `waiting` if nothing was started and the page that took it is still open."""
        await self._approvals.reopen(approval.id)

    async def release(self, approval: Approval) -> None:
        """Release an execution that ended without a stored outcome, so that it can be reconciled."""
        await self._approvals.executions.release(approval.id)

    async def finish(self, approval: Approval, outcome: str, *, ok: bool, code: str) -> None:
        """Store the first outcome of an execution."""
        await self._approvals.finish(approval.id, outcome, ok=ok, code=code)

    async def reevaluate(self, approval: Approval) -> Authorization:
        """Judge the approval by its stored row, after another decision, a reconciliation or its expiry."""
        approval = await self._approvals.get(approval.id) or approval
        return await self._evaluate(approval, self._approvals.is_expired(approval))

    async def _evaluate(self, approval: Approval, expired: bool) -> Authorization:
        if approval.state in ("done", "failed"):
            return Authorization("repeat", approval)
        if approval.state == "executing":
            return Authorization("running", approval)
        if approval.shown_state in ("refused", "withdrawn"):
            return Authorization("withdrawn" if approval.shown_state == "withdrawn" else "refused", approval)
        if expired:
            return Authorization("expired", approval)
        if approval.state == "waiting":
            return Authorization("waiting", approval)
        return await self._consume(approval)

    async def _consume(self, approval: Approval) -> Authorization:
        try:
            return Authorization("run" if await self._approvals.consume(approval) else "running", approval)
        except LimitExceeded as exceeded:
            return Authorization("limit_exceeded", approval, exceeded)


def _is_of(approval: Approval, call_request: CallRequest) -> bool:
    """Return whether the approval is for this call."""
    asked = (approval.tool, approval.user_id, approval.digest)
    return asked == (call_request.tool, call_request.user_id, call_request.digest)

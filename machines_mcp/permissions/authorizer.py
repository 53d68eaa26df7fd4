"""Authorize tool calls: allow, require approval, or deny, according to the policy.

Decisions come from the policy and the stored approvals. Call arguments never grant permission.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.approvals import ApprovalStore
from machines_mcp.permissions.channels import ApprovalChannels
from machines_mcp.permissions.cooldown import LimitExceeded
from machines_mcp.permissions.policy import Policy, Rule
from machines_mcp.storage.audit_log import AuditEntry, AuditLog

Verdict = Literal["run", "repeat", "running", "later", "manual", "waiting", "refused", "expired", "mismatch", "barred"]


@dataclass(frozen=True, slots=True)
class Authorization:
    """The result of authorizing a call. `intent` is set if a person decides, `bar` if a limit or cooldown blocks it.

    For an interrupted call, the verdict is `manual` if a person must resolve it, or `later` if the outcome can't be
    known for another `seconds`. `why` says what is known so far.
    """

    verdict: Verdict
    approval: Approval | None = None
    limit: LimitExceeded | None = None
    seconds: float | None = None
    why: str | None = None


class Authorizer:
    """Authorizes calls. `standing_yes` is the operator's `call --approve`, which only `embedded` accepts."""

    def __init__(
        self,
        policy: Policy,
        approvals: ApprovalStore,
        channels: ApprovalChannels,
        audit: AuditLog,
        *,
        standing_yes: bool = False,
    ) -> None:
        self.policy = policy
        self._audit = audit
        self._approvals = approvals
        self._channels = channels
        self._standing_yes = standing_yes
        self.settled: Callable[[str], Awaitable[None]] = _at_once
        """Waits, for a bounded time, for the outcome of an approval that its own page is executing."""
        self.settle: Callable[[Approval], Awaitable[Authorization | None]] = _not_known
        """Reconciles an interrupted call. Returns None if the stored approval now has the outcome."""

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

    async def admit(self, call_request: CallRequest) -> None:
        """Authorize a write that needs no approval: check the limits and record it in the audit log.

        Raises:
            Barred: A limit forbids it.
            StoreUnavailable: The audit log can't be written.
        """
        await self._approvals.admit(call_request)

    def record(
        self,
        call_request: CallRequest | None,
        code: str,
        *,
        kind: Literal["call", "outcome"] = "call",
        approval_id: str | None = None,
    ) -> None:
        """Record in the audit log a call that changed nothing, or the outcome of a write.

        Without a `demand`, the call named no tool of ours. The name it used is model text and is not recorded.
        """
        self._audit.note(
            AuditEntry(
                kind=kind,
                tool=None if call_request is None else call_request.tool,
                action_class=None if call_request is None else call_request.action_class.value,
                user_id=None if call_request is None else call_request.user_id,
                approval_id=approval_id,
                code=code,
            )
        )

    async def resume(self, call_request: CallRequest, approval_id: str) -> Authorization:
        """Judge a call that passes an approval id: run it if granted, repeat its outcome, or say what is missing."""
        approval = await self._approvals.get(approval_id)
        if approval is None or (approval.tool, approval.user_id, approval.digest) != (
            call_request.tool,
            call_request.user_id,
            call_request.digest,
        ):
            return Authorization("mismatch")
        if approval.state == "executing" and approval.details.only is not None:
            # Its page finishes within seconds, so waiting for it beats reporting an unknown outcome.
            await self.settled(approval_id)
            approval = await self._approvals.get(approval_id) or approval
        if approval.state == "executing" and not self._approvals.running(approval):
            return await self.settle(approval) or await self._reevaluate(approval)
        return await self._evaluate(approval)

    async def request(self, call_request: CallRequest, details: ApprovalDetails) -> Authorization:
        """Create an approval for the call, or run it now if the policy or the operator has already allowed it."""
        by = self._approved_in_advance(call_request) if details.only is None else None
        try:
            if by is not None:
                return Authorization("run", await self._approvals.open_granted(call_request, details, by))
            return Authorization("waiting", await self._approvals.open(call_request, details))
        except LimitExceeded as bar:
            return Authorization("barred", limit=bar)

    def _approved_in_advance(self, call_request: CallRequest) -> Literal["operator", "policy"] | None:
        if self._standing_yes:
            return "operator"
        return "policy" if self.rule(call_request.action_class, call_request.tool) is Rule.ALLOW else None

    async def decide(self, approval: Approval, *, yes: bool) -> Authorization:
        """Record the person's decision from the dialog. A late or second yes runs nothing."""
        if not yes:
            await self._channels.refuse(approval.id, "dialog")
            return Authorization("refused", approval)
        if await self._channels.grant(approval.id, "dialog") == "granted":
            return await self._consume(approval)
        return await self._reevaluate(approval)

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

    async def _reevaluate(self, approval: Approval) -> Authorization:
        # Another decision came first, or the approval expired: the stored row counts.
        return await self._evaluate(await self._approvals.get(approval.id) or approval)

    async def _evaluate(self, approval: Approval) -> Authorization:
        if approval.state in ("done", "failed"):
            return Authorization("repeat", approval)
        if approval.state == "executing":
            return Authorization("running", approval)
        if approval.state == "refused":
            return Authorization("refused", approval)
        if self._approvals.is_expired(approval):
            return Authorization("expired", approval)
        if approval.state == "waiting":
            return Authorization("waiting", approval)
        return await self._consume(approval)

    async def _consume(self, approval: Approval) -> Authorization:
        try:
            return Authorization("run" if await self._approvals.consume(approval) else "running", approval)
        except LimitExceeded as bar:
            return Authorization("barred", approval, bar)


async def _at_once(approval_id: str) -> None:
    pass


async def _not_known(approval: Approval) -> Authorization | None:
    return Authorization("manual", approval)

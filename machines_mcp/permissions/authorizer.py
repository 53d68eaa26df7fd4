"""The one gate that every call passes: allowed, asked of a person, or refused.

The gate decides from the policy and from the intents' rows. It never reads a call's arguments as permission.
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
    """The gate's answer. `intent` is there whenever a person has a say, `bar` where a limit or a pause forbids it.

    A call that was cut short is `manual` where a person must say what became of it, and `later` where that can't be
    told for so many `seconds` yet; `why` is what is known all the same.
    """

    verdict: Verdict
    approval: Approval | None = None
    limit: LimitExceeded | None = None
    seconds: float | None = None
    why: str | None = None


class Authorizer:
    """Applies the policy; `standing_yes` is the operator's `call --approve`, which only `embedded` accepts."""

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
        """Waits, for a bounded time, until an intent that its own page has taken has its outcome."""
        self.settle: Callable[[Approval], Awaitable[Authorization | None]] = _not_known
        """Finds out what became of a call that was cut short; None where its row says so now."""

    def rule(self, action_class: ActionClass, tool: str) -> Rule:
        """What the policy says of such a call."""
        return self.policy.rule(action_class, tool)

    async def dialog_can_approve(self, approval: Approval) -> bool:
        """Whether an answer in the client's dialog can decide this."""
        return await self._channels.can_approve(approval, "dialog")

    async def can_be_approved(self) -> bool:
        """Whether anybody can grant anything now: outside `embedded` not before a passphrase is set."""
        return await self._channels.ready()

    async def waiting(self, approval_id: str) -> Approval | None:
        """The intent if it waits for a decision."""
        return await self._channels.get(approval_id)

    async def admit(self, call_request: CallRequest) -> None:
        """Let a write through that nobody is asked about, within the limits, and put it in the audit first.

        Raises:
            Barred: A limit forbids it.
            StoreUnavailable: It can't be put in the audit.
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
        """Put in the audit what came of a call that changed nothing, or of a write after it was done.

        Without a `demand` it was of no tool of ours, and what it was called is the model's own text.
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
        """Judge a call that names an intent: run once after a grant, repeat the first answer, or say what lacks."""
        approval = await self._approvals.get(approval_id)
        if approval is None or (approval.tool, approval.user_id, approval.digest) != (
            call_request.tool,
            call_request.user_id,
            call_request.digest,
        ):
            return Authorization("mismatch")
        if approval.state == "executing" and approval.details.only is not None:
            # Its page is at work, and will be done in seconds: that is worth more than "nobody knows".
            await self.settled(approval_id)
            approval = await self._approvals.get(approval_id) or approval
        if approval.state == "executing" and not self._approvals.running(approval):
            return await self.settle(approval) or await self._reevaluate(approval)
        return await self._evaluate(approval)

    async def request(self, call_request: CallRequest, details: ApprovalDetails) -> Authorization:
        """Open an intent for the call, or run it at once where the policy or the operator has said yes before."""
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
        """Record what the person said in the dialog. A yes that comes too late, or second, does not run anything."""
        if not yes:
            await self._channels.refuse(approval.id, "dialog")
            return Authorization("refused", approval)
        if await self._channels.grant(approval.id, "dialog") == "granted":
            return await self._consume(approval)
        return await self._reevaluate(approval)

    async def return_grant(self, approval: Approval) -> None:
        """Nothing was begun: let the same call use the grant again."""
        await self._approvals.return_grant(approval.id)

    async def reopen(self, approval: Approval) -> None:
        """Nothing was begun, and the page that took it is still there: let a person decide it again."""
        await self._approvals.reopen(approval.id)

    async def release(self, approval: Approval) -> None:
        """The execution has ended and no outcome is kept: it is to be found out."""
        await self._approvals.executions.release(approval.id)

    async def finish(self, approval: Approval, outcome: str, *, ok: bool, code: str) -> None:
        """Keep the first answer of an execution."""
        await self._approvals.finish(approval.id, outcome, ok=ok, code=code)

    async def _reevaluate(self, approval: Approval) -> Authorization:
        # Somebody else decided meanwhile, or it is too late: what became of it counts.
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

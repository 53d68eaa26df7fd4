"""The `status` tool: where to start, and where to look if something is unclear."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.passphrase_tries import format_alarm
from machines_mcp.permissions.pending import PendingWork
from machines_mcp.permissions.policy import Rule
from machines_mcp.protocol.result_size import MAX_LIST, fitted
from machines_mcp.protocol.tool import Input, NextStepOutput, Output, OutputPart, ToolContext, tool
from machines_mcp.protocol.withheld import outcome_tool
from machines_mcp.redaction.display import iso, others_unresolved, others_waiting
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.storage.desk_note import port_taken
from machines_mcp.storage.freeze import Freeze
from machines_mcp.storage.withdrawal_rows import OpenWithdrawal
from machines_mcp.tools.open_transactions import OpenTransaction, open_transaction, withdrawal_steps
from machines_mcp.tools.services import Permission, Services, State
from machines_mcp.tools.text import pluralize, quote_text

MAX_LISTED = 20
"""The most calls that each list shows."""

T = TypeVar("T", bound=OutputPart)

_PERSON = "Don't repeat it. The user must check Machines and record what happened: machines-mcp doctor --resolve."

# Steps whose tool is disabled are dropped, so a server with part of the journey starts with its own.
_START_HERE = [
    NextStepOutput(
        tool="create_session", why="Start or continue the journey for a user.", arguments={"purpose": "kyc"}
    ),
    NextStepOutput(tool="get_balances", why="See what a user can spend."),
    NextStepOutput(tool="list_cards", why="See a user's cards."),
    NextStepOutput(tool="list_withdrawal_assets", why="See which currencies can be paid out."),
]


class GetStatus(Input):
    pass


class WaitingApproval(OutputPart):
    approval_id: Verbatim
    tool: str
    question: str
    expires_at: datetime


class UnresolvedItem(OutputPart):
    """An approved call that started and has no outcome yet, or a withdrawal that is not final."""

    withdrawal_id: Verbatim | None = None
    approval_id: Verbatim | None = None
    tool: str | None = None
    since: datetime = Field(description="Start")
    status: str
    what_to_do: str | None = None


class LimitBudget(OutputPart):
    """A limit by its path in the policy: the maximum in cents or calls, and what this server's users left of it."""

    limit: str = Field(description="Key of the policy")
    most: int = Field(description="US cents if limit has _cents, else a count")
    left: int | None = Field(default=None, description="Absent per call or card, and per user unless pinned")


class Status(Output):
    user_id: Verbatim | None = None
    simulator_page: str | None = None
    policy: str = Field(description="Source and digest")
    passphrase_set_at: datetime | None = None
    audit_trouble: str | None = Field(default=None, description="Why the audit log can't be written")
    alarms: list[str] = Field(default_factory=list, description="Tell the user")
    frozen: list[str] = Field(default_factory=list, description="Whose changes are stopped")
    permissions: list[Permission]
    budgets: list[LimitBudget] = Field(description="Limits and what is left")
    waiting: list[WaitingApproval] = Field(description="For approval")
    unresolved: list[UnresolvedItem] = Field(description="Outcome unknown")
    withdrawals: list[OpenTransaction] = Field(default_factory=list)
    other_users: str | None = Field(default=None, description="Their calls, counted")
    not_listed: str | None = Field(default=None, description="Left out of these lists")

    def summary(self) -> str:
        waiting, unresolved = pluralize(len(self.waiting), "call"), len(self.unresolved)
        frozen = " Changes are frozen." if self.frozen else ""
        others = "".join(f" {more}" for more in (self.not_listed, self.other_users) if more)
        alarms = " Tell the user about the alarms." if self.alarms else ""
        wallets = (
            f" Withdrawals that wait for a wallet or a receipt: {len(self.withdrawals)}." if self.withdrawals else ""
        )
        return f"{waiting} waiting for approval, {unresolved} unresolved.{wallets}{frozen}{others}{alarms}"


@tool(
    title="Status",
    toolset="always",
    action_class=ActionClass.READ,
    idempotent=True,
    open_world=False,
    always_load=True,
)
async def status(call: ToolContext[Services], args: GetStatus) -> Status:
    """Show the status: environment, user, permissions with reasons, limits left, and waiting or unresolved calls. Start
    here. If it shows no user, give user_id in each call."""
    state = call.services.state
    found = await state.guard.pending.snapshot()
    unknown = [approval for approval in found.executing if not state.guard.approvals.running(approval)]
    policy, set_at = state.policy, await state.passphrase_set_at()
    waiting, more_waiting = _newest([_waiting(approval) for approval in found.waiting])
    unresolved, more_unresolved = _newest(_unresolved(found, unknown))
    return Status(
        user_id=Verbatim(state.principal.pinned) if state.principal.pinned else None,
        simulator_page=await call.services.partner.simulator_page(),
        policy=f"{'default' if policy.source == 'default' else 'file'} {policy.digest[:12]}",
        passphrase_set_at=None if set_at is None else _moment(set_at),
        audit_trouble=state.guard.audit.trouble(),
        alarms=[*map(format_alarm, found.alarms), *_desk_alarms(found)],
        frozen=[_frozen(each) for each in found.freezes[:MAX_LISTED]],
        permissions=_permissions(state, decidable=set_at is not None or not policy.needs_passphrase),
        budgets=[LimitBudget(limit=each.limit, most=each.most, left=each.left) for each in found.budgets],
        waiting=waiting,
        unresolved=unresolved,
        withdrawals=[open_transaction(each, state.clock()) for each in found.transactions[:MAX_LISTED]],
        other_users=_others(found),
        not_listed=_not_listed(more_waiting, more_unresolved, max(0, len(found.freezes) - MAX_LISTED)),
        next_steps=(_checks(state, unknown) + withdrawal_steps(state, found.transactions))[:MAX_LISTED]
        + (_START_HERE if state.policy.rule(ActionClass.WRITE) is Rule.ALLOW else []),
    )


def _desk_alarms(found: PendingWork) -> list[str]:
    return [] if found.taken_desk_port is None else [port_taken(found.taken_desk_port)]


def _permissions(state: State, *, decidable: bool) -> list[Permission]:
    if decidable:
        return list(state.permissions)
    why = "approvals are disabled until the operator sets the passphrase (machines-mcp passphrase)"
    return [
        found.model_copy(update={"reason": why}) if found.rule == Rule.ASK else found for found in state.permissions
    ]


def _newest(items: list[T]) -> tuple[list[T], int]:
    """Return the last items, which are the newest, and how many are left out."""
    kept = fitted(items[::-1][:MAX_LISTED], MAX_LIST)
    return kept[::-1], len(items) - len(kept)


def _not_listed(waiting: int, unresolved: int, frozen: int) -> str | None:
    """Count what the lists leave out, in a sentence."""
    counts = {"waiting for approval": waiting, "unresolved": unresolved, "frozen users": frozen}
    found = [f"{count} more {what}" for what, count in counts.items() if count]
    return f"Not listed: {', '.join(found)}." if found else None


def _frozen(freeze: Freeze) -> str:
    whose = f"of the user {quote_text(freeze.user_id, 120)}" if freeze.user_id else "of all users"
    return f"changes {whose}, since {iso(freeze.since)}"


def _waiting(approval: Approval) -> WaitingApproval:
    return WaitingApproval(
        approval_id=Verbatim(approval.id),
        tool=approval.tool,
        question=approval.question,
        expires_at=_moment(approval.expires_at),
    )


def _unresolved(found: PendingWork, unknown: list[Approval]) -> list[UnresolvedItem]:
    """List each unresolved item once, oldest first: a withdrawal is merged with the call that created it."""
    payouts = {each.approval_id: each for each in found.withdrawals if each.approval_id is not None}
    shown = [
        _unresolved_call(
            approval, payouts.pop(approval.id, None), approval in unknown, approval.id in found.needs_person
        )
        for approval in found.executing
    ]
    left = [each for each in found.withdrawals if each.approval_id is None or each.approval_id in payouts]
    return sorted(shown + [_unresolved_withdrawal(each) for each in left], key=lambda item: item.since)


def _unresolved_call(
    approval: Approval, withdrawal: OpenWithdrawal | None, unknown: bool, needs_person: bool
) -> UnresolvedItem:
    if not unknown:
        status, advice = "running", "Wait; it is still running."
    elif needs_person:
        status, advice = "needs_person", _PERSON
    else:
        status, advice = (
            "unknown",
            f"Repeat the call with its approval_id to find out, or check {_tool_to_check(approval)}.",
        )
    return UnresolvedItem(
        withdrawal_id=None if withdrawal is None else withdrawal.id,
        approval_id=Verbatim(approval.id),
        tool=approval.tool,
        since=_moment(approval.started_at or approval.created_at),
        status=status,
        what_to_do=advice,
    )


def _unresolved_withdrawal(found: OpenWithdrawal) -> UnresolvedItem:
    """Describe a withdrawal without an executing call: the call ended, or an older version created it."""
    return UnresolvedItem(withdrawal_id=found.id, since=_moment(found.since), status=found.status, what_to_do=_PERSON)


def _others(found: PendingWork) -> str | None:
    """Count the calls of other users. Nothing else about them may be said."""
    sentences = [others_waiting(found.others_waiting)] if found.others_waiting else []
    sentences += [others_unresolved(found.others_unresolved)] if found.others_unresolved else []
    return " ".join(sentences) or None


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(int(at), UTC)


def _checks(state: State, unknown: list[Approval]) -> list[NextStepOutput]:
    """Return one check per tool and user."""
    places = {(_tool_to_check(approval), approval.user_id): approval.tool for approval in unknown}
    return [
        NextStepOutput(tool=tool, why=f"See whether {done} took effect.", arguments=state.user_argument(user_id))
        for (tool, user_id), done in places.items()
    ]


def _tool_to_check(approval: Approval) -> str:
    place = outcome_tool(approval.tool)
    return "get_balances" if place == "status" else place

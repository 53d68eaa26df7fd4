"""What the tools are given to work with. The composition root fills it; no tool makes any of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import Detail
from machines_mcp.permissions.pending import PendingWorkReader
from machines_mcp.permissions.policy import Policy, Rule
from machines_mcp.protocol.tool import Call, NextStepOutput, OutputPart
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.concurrent_requests import ConcurrentRequests
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.storage.withdrawals import Withdrawals
from machines_mcp.tools.text import clean

if TYPE_CHECKING:
    from machines_mcp.partner import PartnerClient


# Twice what one answer is waited for.
RECONCILE_SECONDS = 16.0

Sink = Literal["none", "page", "sealed", "model"]


@dataclass(frozen=True, slots=True)
class Revealed:
    """What the vault said of a card: its closed reply, nothing more. `code` says why it is not `ok`."""

    ok: bool
    code: str
    brand: str | None
    last4: str | None
    expiration_month: int | None
    expiration_year: int | None
    jwe: str | None = None
    pan: Secret | None = None
    cvc: Secret | None = None


@dataclass(frozen=True, slots=True)
class PageOutcome:
    """How a call ended that ran on a page: the answer to whoever asks for it; `code` is ok or the refusal's."""

    answer: dict[str, Any]
    ok: bool
    code: str


Outcome: TypeAlias = Callable[[Revealed], PageOutcome]


class Permission(OutputPart):
    """What may be done: `allow`, `ask` (a person approves each one) or `deny` (for this reason)."""

    action: str
    rule: str
    reason: str | None = None


def permissions(policy: Policy) -> tuple[Permission, ...]:
    """A permission per class of call, then one per tool and class that the policy treats in its own way."""
    own = [
        (f"{tool}.{action_class}", action_class, tool) for tool, rules in policy.tools.items() for action_class in rules
    ]
    classes = [(action_class.value, action_class, None) for action_class in ActionClass]
    return tuple(_permission(policy, action, action_class, tool) for action, action_class, tool in (*classes, *own))


def _permission(policy: Policy, action: str, action_class: ActionClass, tool: str | None) -> Permission:
    rule = policy.rule(action_class, tool)
    reasons = {Rule.DENY: policy.reason(action_class, tool), Rule.ASK: "a person approves each one", Rule.ALLOW: None}
    return Permission(action=action, rule=rule.value, reason=reasons[rule])


@dataclass(frozen=True, slots=True)
class Services:
    """The rooms behind the tools."""

    partner: Callable[[], Awaitable[PartnerClient]]
    """The client; in `embedded` the first call starts the simulator."""
    reveal: Callable[[str, str, str, Sink], Awaitable[Revealed]]
    """(user, card id, last4, sink): the vault does steps 13 to 15 in a process of its own, for any sink but `page`."""
    page: Callable[[Approval, str, Outcome], Awaitable[str]]
    """(intent, last4, what to keep of it): the address of the vault's page for it, which is opened where it isn't."""
    form: Callable[[str], Awaitable[str | None]]
    """(intent id): the address of its form at the desk, for the person; None where there can be no desk."""
    policy: Policy
    permissions: tuple[Permission, ...]
    """What the policy says of each class, as `status` shows it."""
    pending: PendingWorkReader
    passphrase_set_at: Callable[[], Awaitable[float | None]]
    """When the person's passphrase was set, in seconds since the epoch; None where none is, or none is needed."""
    audit_trouble: Callable[[], str | None]
    """What can't be written of the audit at present, in a sentence for who runs the server."""
    running: Callable[[Approval], bool]
    """Whether an intent that was begun may still come to its end."""
    withdrawals: Withdrawals
    temporarily_secret: Callable[[str], AbstractContextManager[None]]
    """Within it, no line that shows this value leaves."""
    pinned_user: str | None
    concurrent_requests: Callable[[JournalEntry], Awaitable[ConcurrentRequests]]
    """What else can have made what this entry of the journal asked for."""
    elapsed: Callable[[JournalEntry], float]
    """Seconds that have passed at least since it was sent, by a clock that nobody sets."""
    reconcile_seconds: float = RECONCILE_SECONDS
    """How long after a request was sent it may still take effect: what Machines does not show then did not happen."""
    clock: Callable[[], float] = time.time

    def user_argument(self, user_id: str) -> dict[str, Any]:
        """`user_id` as an argument for a next step; nothing where the server is pinned to one user."""
        return {} if self.pinned_user is not None or not user_id else {"user_id": user_id}


UserCall: TypeAlias = Call[Services]


def user_fact(call: UserCall) -> Detail:
    """Who it is about, as the person reads it first."""
    return Detail("User", clean(call.user_id, 120))


def next_step(call: UserCall, tool: str, why: str, **arguments: Any) -> NextStepOutput:
    """A next step for the same user. Arguments that are None are left for the caller to fill."""
    known = {name: value for name, value in arguments.items() if value is not None}
    return NextStepOutput(tool=tool, why=why, arguments=call.services.user_argument(call.user_id) | known)

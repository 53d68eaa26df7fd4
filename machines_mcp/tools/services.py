"""The dependencies that the composition root passes to the tools."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import Detail
from machines_mcp.permissions.pending import PendingWorkReader
from machines_mcp.permissions.policy import Policy, Rule
from machines_mcp.permissions.policy_explanation import explain_rule
from machines_mcp.protocol.tool import Call, NextStepOutput, OutputPart
from machines_mcp.redaction.secret import Secret
from machines_mcp.redaction.sink import Sink
from machines_mcp.storage.concurrent_requests import ConcurrentRequests
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.storage.withdrawals import Withdrawals
from machines_mcp.tools.text import clean

if TYPE_CHECKING:
    from machines_mcp.partner import PartnerClient


# Twice the timeout of one response.
RECONCILE_SECONDS = 16.0


@dataclass(frozen=True, slots=True)
class Revealed:
    """The vault's reply about a card, which has these fields only. If not `ok`, `code` is the reason."""

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
    """The outcome of a call that ran on a page: its result or error, and a `code` (ok or the error's)."""

    answer: dict[str, Any]
    ok: bool
    code: str


Outcome: TypeAlias = Callable[[Revealed], PageOutcome]


class Permission(OutputPart):
    """The policy's rule for an action: `allow`, `ask` (a person approves each call) or `deny`, with the reason."""

    action: str
    rule: str
    reason: str | None = None


def permissions(policy: Policy) -> tuple[Permission, ...]:
    """Return a permission per action class, then one per tool and class with its own rule."""
    own = [
        (f"{tool}.{action_class}", action_class, tool) for tool, rules in policy.tools.items() for action_class in rules
    ]
    classes = [(action_class.value, action_class, None) for action_class in ActionClass]
    return tuple(_permission(policy, action, action_class, tool) for action, action_class, tool in (*classes, *own))


def _permission(policy: Policy, action: str, action_class: ActionClass, tool: str | None) -> Permission:
    rule = policy.rule(action_class, tool)
    reason = None if rule is Rule.ALLOW else explain_rule(policy, action_class, tool)
    return Permission(action=action, rule=rule.value, reason=reason)


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that tools can use besides their arguments."""

    partner: Callable[[], Awaitable[PartnerClient]]
    """Return the client; in `embedded`, the first call starts the simulator."""
    reveal: Callable[[str, str, str, Sink], Awaitable[Revealed]]
    """(user, card id, last4, sink): run steps 13 to 15 in a vault process, for any sink except `page`."""
    page: Callable[[Approval, str, Outcome], Awaitable[str]]
    """(approval, last4, outcome): return the address of its vault page, opening the page if needed."""
    form: Callable[[str], Awaitable[str | None]]
    """(approval id): return the address of its form at the desk; None if no desk can run."""
    policy: Policy
    permissions: tuple[Permission, ...]
    """The policy's rules, as `status` shows them."""
    pending: PendingWorkReader
    passphrase_set_at: Callable[[], Awaitable[float | None]]
    """When the passphrase was set, in seconds since the epoch; None if there is none or none is needed."""
    audit_trouble: Callable[[], str | None]
    """Why the audit log is currently unwritable, for the operator; None if it is healthy."""
    running: Callable[[Approval], bool]
    """Whether an approved call that started may still finish."""
    withdrawals: Withdrawals
    temporarily_secret: Callable[[str], AbstractContextManager[None]]
    """While the context is open, block every output line that contains this value."""
    pinned_user: str | None
    concurrent_requests: Callable[[JournalEntry], Awaitable[ConcurrentRequests]]
    """Return the other requests that could have created what this journal entry asked for."""
    elapsed: Callable[[JournalEntry], float]
    """Return the minimum seconds since the entry was sent, by a monotonic clock."""
    reconcile_seconds: float = RECONCILE_SECONDS
    """Seconds for which a sent request may still take effect. If Machines shows nothing after that, it did not."""
    clock: Callable[[], float] = time.time

    def user_argument(self, user_id: str) -> dict[str, Any]:
        """Return `user_id` as a next-step argument; nothing if the server is pinned to one user."""
        return {} if self.pinned_user is not None or not user_id else {"user_id": user_id}


UserCall: TypeAlias = Call[Services]


def user_fact(call: UserCall) -> Detail:
    """Return the user, as the first line of the approval details."""
    return Detail("User", clean(call.user_id, 120))


def next_step(call: UserCall, tool: str, why: str, **arguments: Any) -> NextStepOutput:
    """Build a next step for the same user. Arguments that are None are left for the caller to fill in."""
    known = {name: value for name, value in arguments.items() if value is not None}
    return NextStepOutput(tool=tool, why=why, arguments=call.services.user_argument(call.user_id) | known)

"""The dependencies that the composition root passes to the tools."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import Detail
from machines_mcp.permissions.policy import Policy, Rule
from machines_mcp.permissions.policy_explanation import explain_rule
from machines_mcp.protocol.tool import NextStepOutput, OutputPart, ToolContext
from machines_mcp.redaction.detectors import masked_text
from machines_mcp.redaction.foreign_text import shortened
from machines_mcp.redaction.links import is_openable
from machines_mcp.redaction.secret import Secret
from machines_mcp.redaction.sink import Sink
from machines_mcp.storage.journal import CallContext
from machines_mcp.storage.principal import Principal
from machines_mcp.storage.withdrawals import Withdrawals
from machines_mcp.tools.text import clean

if TYPE_CHECKING:
    from machines_mcp.partner import PartnerClient
    from machines_mcp.permissions.factory import Guard
    from machines_mcp.redaction.output_filter import OutputFilter
    from machines_mcp.tools.withdrawal_plans import WithdrawalPlans


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

    action: str = Field(description="Class, or tool.class")
    rule: str = Field(description="allow, ask or deny")
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


class Partner(Protocol):
    """The connection to the Partner API."""

    async def client(self, logged_as: CallContext) -> PartnerClient:
        """Return the client, whose mutations are journaled as sent by this call. In `embedded`, start the simulator."""

    async def simulator_page(self) -> str | None:
        """Return the address of the simulator's page; None if the API is no simulator, or if it does not run yet."""


class Reveals(Protocol):
    """Starts vaults, and tracks their pages."""

    async def reveal(self, user_id: str, card_id: str, last4: str, sink: Sink) -> Revealed:
        """Run steps 13 to 15 in a vault process, for any sink except `page`."""

    async def page(self, approval: Approval, last4: str, outcome: Outcome) -> str:
        """Return the address of the approval's vault page, starting the vault if needed."""


class DeskPages(Protocol):
    """The pages of the desk that tools lead to."""

    async def identity(self, user_id: str) -> str | None:
        """Return the address of the page with the user's identity check; None if no desk can run."""

    async def withdrawal(self, withdrawal_id: str) -> str | None:
        """Return the address of the page on which a person signs and sends a withdrawal; None if no desk can run."""


@dataclass(frozen=True, slots=True)
class State:
    """What this server knows and stores, and the rules for it."""

    guard: Guard
    output_filter: OutputFilter
    withdrawals: Withdrawals
    permissions: tuple[Permission, ...]
    """The policy's rules, as `status` shows them."""
    principal: Principal
    reconcile_seconds: float
    """Seconds for which a sent request may still take effect. If Machines shows nothing after that, it did not."""
    clock: Callable[[], float] = time.time

    @property
    def policy(self) -> Policy:
        """The operator's policy."""
        return self.guard.policy

    async def passphrase_set_at(self) -> float | None:
        """Return when the passphrase was set, in seconds since the epoch; None if there is none or none is needed."""
        # Without need for a passphrase, do not look for its file at each status call.
        verifier = await self.guard.passphrase.verifier() if self.policy.needs_passphrase else None
        return None if verifier is None else verifier.set_at

    def shown_text(self, user_id: str, text: str, limit: int) -> str:
        """Return text from outside for approval details, masked for the user and then cut to `limit` characters."""
        return shortened(text, limit, partial(self.output_filter.mask_text, user_id))

    def may_show_link(self, user_id: str, link: str) -> bool:
        """Return whether the model gets a link for a user: exact, or not at all."""
        echoes = self.output_filter.identity_echoes
        return is_openable(link) and masked_text(link) == link and not echoes.found_in(user_id, link)

    def user_argument(self, user_id: str) -> dict[str, Any]:
        """Return `user_id` as a next-step argument; nothing if the server is pinned to one user."""
        return {} if self.principal.pinned is not None or not user_id else {"user_id": user_id}


class Services:
    """What tools can use besides their arguments. Plans, reveals and the desk load when a call needs them."""

    def __init__(
        self,
        partner: Partner,
        state: State,
        plans: Callable[[], WithdrawalPlans],
        reveals: Callable[[], Reveals],
        desk_pages: Callable[[], DeskPages],
    ) -> None:
        self.partner = partner
        self.state = state
        self._load_plans = plans
        self._load_reveals = reveals
        self._load_desk_pages = desk_pages

    @property
    def plans(self) -> WithdrawalPlans:
        """The plans of signed withdrawals."""
        return self._load_plans()

    @property
    def reveals(self) -> Reveals:
        """The vaults."""
        return self._load_reveals()

    @property
    def desk_pages(self) -> DeskPages:
        """The desk's pages."""
        return self._load_desk_pages()


ServiceContext: TypeAlias = ToolContext[Services]


def user_detail(call: ServiceContext) -> Detail:
    """Return the user, as the first line of the approval details."""
    pinned = call.services.state.principal.pinned is not None
    return Detail("User", clean(call.user_id, 120), by=None if pinned else "agent")


def next_step(call: ServiceContext, tool: str, why: str, **arguments: Any) -> NextStepOutput:
    """Build a next step for the same user. Arguments that are None are left for the caller to fill in."""
    known = {name: value for name, value in arguments.items() if value is not None}
    return NextStepOutput(tool=tool, why=why, arguments=call.services.state.user_argument(call.user_id) | known)

"""The approval pages: list waiting calls, take decisions, and show past ones."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from starlette.responses import Response

from machines_mcp.desk.identity_page import identity_path
from machines_mcp.desk.routing import Form, PageRenderer, Route, SessionRequest
from machines_mcp.desk.sign_in import decide_with_passphrase, passphrase_fault
from machines_mcp.permissions.approval_details import Detail
from machines_mcp.permissions.decision import MESSAGES, Decision
from machines_mcp.redaction.display import dollars, not_decidable

if TYPE_CHECKING:
    from machines_mcp.permissions.approval import Approval

MAX_DECIDED, MAX_CHECKS = 20, 10
MAX_WAITING = 50
"""The most waiting requests on the page. They are the newest ones."""

_BUDGET_LABELS = {
    "withdrawals.per_day_cents": "Payouts today",
    "rates.asks_per_minute": "Requests this minute",
    "rates.mutations_per_hour": "Changes this hour",
    "rates.total.asks_per_minute": "Requests this minute, all users",
    "rates.total.mutations_per_hour": "Changes this hour, all users",
}
_NOT_DECIDED: dict[str, tuple[int, str]] = {
    "not_allowed": (403, MESSAGES["not_allowed"]),
    "limit_exceeded": (409, MESSAGES["limit_exceeded"]),
    "frozen": (409, MESSAGES["frozen"]),
    "gone": (409, MESSAGES["gone"]),
}


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """An approval as the page shows it."""

    approval: Approval
    title: str
    items: tuple[Detail, ...]
    status: str
    tone: str
    note: str = ""


class ApprovalsPage:
    """Shows approvals and takes decisions on them."""

    def __init__(self, renderer: PageRenderer) -> None:
        self._renderer = renderer
        self._guard = renderer.dependencies.guard

    def routes(self) -> list[Route]:
        """Return the routes of the home page and of a single approval."""
        return [
            Route(re.compile("/"), get=self.home),
            Route(re.compile("/decisions/([0-9a-f]{32})"), get=self.show, post=self.decide),
            Route(re.compile("/cards/([0-9a-f]{32})"), post=self.open_card),
        ]

    async def home(self, request: SessionRequest) -> Response:
        """Show waiting approvals, recent decisions and the server's status."""
        waiting = await self._guard.channels.waiting()
        ids = {approval.id for approval in waiting}
        recent = [
            approval
            for approval in await self._guard.approvals.recent(MAX_DECIDED + len(ids))
            if approval.id not in ids
        ]
        verifier = await self._guard.passphrase.verifier()
        pending = await self._guard.pending.snapshot()
        return self._renderer.page(
            request,
            "home",
            waiting=[self._view(approval) for approval in waiting[-MAX_WAITING:]],
            older=max(0, len(waiting) - MAX_WAITING),
            others=not_decidable(pending.others_waiting, await self._guard.channels.not_decidable()),
            decided=[self._view(approval) for approval in recent[:MAX_DECIDED]],
            checks=[(user, identity_path(user)) for user in await self._checked_users([*waiting, *recent])],
            policy=self._guard.policy,
            budgets=[
                (_BUDGET_LABELS[one.limit], one)
                for one in pending.budgets
                if one.limit in _BUDGET_LABELS and one.left is not None
            ],
            passphrase_set_at=verifier.set_at if verifier else None,
            fault="",
        )

    async def _checked_users(self, approvals: list[Approval]) -> list[str]:
        """Return the users whose identity check a person may look up: named by the operator, or in an approval."""
        users = [*sorted(self._guard.principal.users or ()), *(approval.user_id for approval in approvals)]
        known = self._guard.known_users.knows
        return [user for user in dict.fromkeys(users) if user and await known(user)][:MAX_CHECKS]

    async def show(self, request: SessionRequest) -> Response:
        """Show one approval in any state."""
        return await self._page(request, 200, "")

    async def decide(self, request: SessionRequest, form: Form) -> Response:
        """Approve or refuse a call."""
        channels, decision = self._guard.channels, form.get("decision")
        if decision not in ("approve", "refuse"):
            return self._renderer.templates.message_response(400, "The decision must be approve or refuse.")
        approval_id = request.path_parameter
        if decision == "refuse":
            result: Decision | Literal["empty"] = await channels.refuse(approval_id, "desk", signed_in=True)
        else:
            result = await decide_with_passphrase(
                self._renderer,
                form.get("passphrase", ""),
                lambda passphrase: channels.grant(approval_id, "desk", passphrase),
            )
        if result == "granted" or result == "refused":
            return self._renderer.redirect(request, MESSAGES[result])
        return await self._page(request, *(await passphrase_fault(self._renderer, result) or _NOT_DECIDED[result]))

    async def open_card(self, request: SessionRequest, form: Form) -> Response:
        """Start the vault's page, which decides, and lead there. The page is on another port."""
        page = await self._renderer.dependencies.open_card(request.path_parameter)
        if page.address is None:
            return await self._page(request, 409, page.message)
        return self._renderer.page(request, "card", address=page.address)

    async def _page(self, request: SessionRequest, status: int, fault: str) -> Response:
        approval = await self._guard.approvals.get(request.path_parameter)
        if approval is None:
            return self._renderer.templates.message_response(404, "There is no such request.")
        return self._renderer.page(request, "decision", status, view=self._view(approval), fault=fault)

    def _view(self, approval: Approval) -> ApprovalView:
        details = approval.details
        shown = details.items + self._guard.approvals.identity.details(approval)
        # The page shows the amount above the table.
        amount = None if details.amount_cents is None else dollars(details.amount_cents)
        items = tuple(item for item in shown if amount is None or item.value != amount)
        title = self._renderer.dependencies.titles.get(approval.tool, approval.tool)
        return ApprovalView(approval, title, items, *self._status(approval))

    def _status(self, approval: Approval) -> tuple[str, str, str]:
        """Return the state in a word, its colour, and an optional note."""
        if self._guard.approvals.is_expired(approval):
            other = approval.policy != self._guard.policy.digest
            return "Expired", "soft", "It was requested under another policy." if other else ""
        outcome: dict[str, Any] = json.loads(approval.outcome) if approval.outcome else {}
        match approval.state:
            case "waiting":
                return "Waiting", "wait", ""
            case "granted":
                return "Approved", "good", "Not used yet."
            case "refused":
                return "Refused", "bad", ""
            case "executing":
                running = self._guard.approvals.running(approval)
                return ("Running", "wait", "") if running else ("Unknown", "bad", "The outcome of the call is unknown.")
            case "done":
                return "Done", "good", ""
            case _:
                return "Failed", "bad", str(outcome.get("code", ""))

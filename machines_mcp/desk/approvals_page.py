"""The approval pages: list waiting calls, take decisions, and show past ones."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from starlette.responses import Response

from machines_mcp.desk.approval_view import ApprovalView, approval_view, grouped_by_user
from machines_mcp.desk.identity_page import identity_path
from machines_mcp.desk.locked_cards import MOST_LOCKED
from machines_mcp.desk.routing import Form, PageRenderer, Route, SessionRequest
from machines_mcp.desk.sign_in import decide_with_passphrase, passphrase_fault
from machines_mcp.desk.withdrawal_pages import WITHDRAWAL_ID
from machines_mcp.permissions.decision import MESSAGES, Decision
from machines_mcp.redaction.display import not_decidable

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


class ApprovalsPage:
    """Shows approvals and takes decisions on them."""

    def __init__(self, renderer: PageRenderer) -> None:
        self._renderer = renderer
        self._guard = renderer.dependencies.guard

    def routes(self) -> list[Route]:
        """Return the routes of the home page and of a single approval."""
        return [
            Route(re.compile("/"), get=self.home),
            Route(re.compile("/waiting"), get=self.waiting, passive=True),
            Route(re.compile("/decisions/([0-9a-f]{32})"), get=self.show, post=self.decide),
            Route(re.compile("/cards/([0-9a-f]{32})"), post=self.open_card),
        ]

    async def home(self, request: SessionRequest) -> Response:
        """Show waiting approvals, recent decisions and the server's status."""
        lists = await self._lists()
        verifier = await self._guard.passphrase.verifier()
        pending = await self._guard.pending.snapshot()
        seen = [view.approval for _, views in lists["groups"] for view in views]
        seen += [view.approval for view in lists["decided"]]
        return self._renderer.page(
            request,
            "home",
            **lists,
            checks=[(user, identity_path(user)) for user in await self._checked_users(seen)],
            policy=self._guard.policy,
            simulator=await self._renderer.dependencies.simulator_page(),
            budgets=[
                (_BUDGET_LABELS[one.limit], one)
                for one in pending.budgets
                if one.limit in _BUDGET_LABELS and one.left is not None
            ],
            passphrase_set_at=verifier.set_at if verifier else None,
            fault="",
        )

    async def waiting(self, request: SessionRequest) -> Response:
        """Return the lists of the home page, for its script."""
        return self._renderer.part(request, "lists", **await self._lists())

    async def _lists(self) -> dict[str, Any]:
        """Return what waits, by user and the newest first, and what was decided."""
        waiting = await self._guard.channels.waiting()
        ids = {approval.id for approval in waiting}
        recent = await self._guard.approvals.recent(MAX_DECIDED + len(ids))
        decided = [approval for approval in recent if approval.id not in ids][:MAX_DECIDED]
        others = (await self._guard.pending.snapshot()).others_waiting
        return {
            "groups": grouped_by_user([self._view(approval) for approval in waiting[-MAX_WAITING:]]),
            "count": len(waiting),
            "older": max(0, len(waiting) - MAX_WAITING),
            "others": not_decidable(others, await self._guard.channels.not_decidable()),
            "decided": [self._view(approval) for approval in decided],
            "most_locked": MOST_LOCKED,
            "locked": await locked.count() if (locked := self._renderer.dependencies.locked_cards) else 0,
        }

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
        sign_at = self._withdrawal_path(approval)
        return self._renderer.page(request, "decision", status, view=self._view(approval), fault=fault, sign_at=sign_at)

    def _withdrawal_path(self, approval: Approval) -> str:
        """Return the path of the page on which a wallet signs what was approved; empty if there is none."""
        known = self._renderer.dependencies.withdrawals is not None and approval.state == "done"
        outcome = json.loads(approval.outcome) if known and approval.outcome else {}
        name = str(outcome.get("withdrawal_id"))
        ready = outcome.get("status") == "ready" and re.fullmatch(WITHDRAWAL_ID, name)
        return f"/withdrawals/{name}" if ready else ""

    def _view(self, approval: Approval) -> ApprovalView:
        title = self._renderer.dependencies.titles.get(approval.tool, approval.tool)
        view = approval_view(approval, title, self._guard.approvals.identity.details(approval))
        status, tone, note = self._status(approval)
        return replace(view, status=status, tone=tone, note=note)

    def _status(self, approval: Approval) -> tuple[str, str, str]:
        """Return the state in a word, its colour, and an optional note."""
        if self._guard.approvals.is_expired(approval):
            other = approval.policy != self._guard.policy.digest
            return "Expired", "soft", "It was requested under another policy." if other else ""
        outcome: dict[str, Any] = json.loads(approval.outcome) if approval.outcome else {}
        led_to = self._renderer.dependencies.outcome_sentence(approval.tool, outcome)
        match approval.shown_state:
            case "waiting":
                return "Waiting", "wait", ""
            case "granted":
                return "Approved", "good", "The assistant has not used it yet."
            case "refused":
                return "Refused", "bad", "Nothing was changed."
            case "withdrawn":
                return "Withdrawn", "soft", "The assistant withdrew this request. Nothing was changed."
            case "executing":
                running = self._guard.approvals.running(approval)
                return ("Running", "wait", "") if running else ("Unknown", "bad", "The outcome of the call is unknown.")
            case "done":
                return "Done", "good", led_to
            case _:
                return "Failed", "bad", led_to

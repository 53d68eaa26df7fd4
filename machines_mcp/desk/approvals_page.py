"""The approval pages: list waiting calls, take decisions, and show past ones."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from machines_mcp.desk.routing import Form, PageRenderer, Place, Visit
from machines_mcp.desk.sign_in import SAYS, with_passphrase
from machines_mcp.desk.templates import dollars
from machines_mcp.permissions.approval_details import Detail
from machines_mcp.permissions.limits import budgets

if TYPE_CHECKING:
    from machines_mcp.permissions.approval import Approval

SHOWN_DECIDED = 20

_BUDGETS = {
    "withdrawals.per_day_cents": "Payouts today",
    "rates.asks_per_minute": "Requests this minute",
    "rates.mutations_per_hour": "Changes this hour",
}
_DONE = {
    "granted": "Approved. The assistant can now repeat the call. It runs once, within 5 minutes.",
    "refused": "Refused. The assistant sees this when it asks.",
}
_CAN_NOT: dict[str, tuple[int, str]] = {
    "not_allowed": (403, "This can't be decided at the desk."),
    "barred": (409, "A limit in the operator's policy doesn't allow this now, so it was not approved."),
    "gone": (409, "This request is no longer waiting. It was decided elsewhere or has expired."),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """An approval as the page shows it."""

    approval: Approval
    title: str
    items: tuple[Detail, ...]
    standing: str
    tone: str
    note: str = ""


class ApprovalsPage:
    """Shows approvals and takes decisions on them."""

    def __init__(self, front: PageRenderer) -> None:
        self._front = front
        self._guard = front.dependencies.guard

    def places(self) -> list[Place]:
        """Return the routes of the home page and of a single approval."""
        return [
            Place(re.compile("/"), look=self.home),
            Place(re.compile("/decisions/([0-9a-f]{32})"), look=self.one, change=self.decide),
        ]

    async def home(self, visit: Visit) -> Response:
        """Show waiting approvals, recent decisions and the server's status."""
        waiting = await self._guard.channels.waiting()
        ids = {approval.id for approval in waiting}
        recent = [
            approval
            for approval in await self._guard.approvals.recent(SHOWN_DECIDED + len(ids))
            if approval.id not in ids
        ]
        verifier = await self._guard.passphrase.verifier()
        policy, now = self._guard.policy, self._front.dependencies.clock()
        left = await self._guard.store.read(lambda db: budgets(db, policy, now))
        return self._front.page(
            visit,
            "home",
            waiting=[self._shown(approval) for approval in waiting],
            decided=[self._shown(approval) for approval in recent[:SHOWN_DECIDED]],
            policy=policy,
            budgets=[(_BUDGETS[one.limit], one) for one in left if one.limit in _BUDGETS],
            passphrase_set_at=verifier.set_at if verifier else None,
            fault="",
        )

    async def one(self, visit: Visit) -> Response:
        """Show one approval in any state."""
        return await self._one(visit, 200, "")

    async def decide(self, visit: Visit, form: Form) -> Response:
        """Approve or refuse a call."""
        channels, decision = self._guard.channels, form.get("decision")
        if decision not in ("approve", "refuse"):
            return self._front.templates.plain(400, "The decision must be approve or refuse.")
        ask = channels.grant if decision == "approve" else channels.refuse
        says = await with_passphrase(
            self._front, form.get("passphrase", ""), lambda passphrase: ask(visit.name, "desk", passphrase)
        )
        if says in _DONE:
            return self._front.back(visit, _DONE[says])
        return await self._one(visit, *(SAYS | _CAN_NOT)[says])

    async def _one(self, visit: Visit, status: int, fault: str) -> Response:
        approval = await self._guard.approvals.get(visit.name)
        if approval is None:
            return self._front.templates.plain(404, "There is no such request.")
        return self._front.page(visit, "decision", status, shown=self._shown(approval), fault=fault)

    def _shown(self, approval: Approval) -> Shown:
        details = approval.details
        # The page shows the amount above the table.
        amount = None if details.amount_cents is None else dollars(details.amount_cents)
        items = tuple(item for item in details.items if amount is None or item.value != amount)
        title = self._front.dependencies.titles.get(approval.tool, approval.tool)
        return Shown(approval, title, items, *self._standing(approval))

    def _standing(self, approval: Approval) -> tuple[str, str, str]:
        """Return the state in a word, its colour, and an optional note."""
        if self._guard.approvals.is_expired(approval):
            return "Expired", "soft", ""
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

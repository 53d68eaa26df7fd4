"""The page on which a person signs an approved withdrawal with their wallet. It decides nothing: the approval did."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from machines_mcp.desk.approval_view import approval_view
from machines_mcp.desk.routing import Form, PageRenderer, Route, SessionRequest
from machines_mcp.desk.withdrawal_pages import WITHDRAWAL_ID, WithdrawalPages, WithdrawalView

if TYPE_CHECKING:
    from machines_mcp.permissions.approval import Approval

MAX_TYPED = 5_000
"""The longest signature or hash that is passed on, in characters."""

_STATES = {
    "sign": ("Ready to sign", "wait"),
    "send": ("Ready to send", "wait"),
    "sent": ("Sent", "wait"),
    "done": ("Done", "good"),
    "expired": ("Expired", "soft"),
    "blocked": ("Stopped", "bad"),
}
"""The state in words, and its colour."""
_NO_PAGE = "There is no approved withdrawal at this address."


class WithdrawalPage:
    """Shows what was approved, takes the wallet's signature and hands out the transaction for it."""

    def __init__(self, renderer: PageRenderer, withdrawals: WithdrawalPages) -> None:
        self._renderer = renderer
        self._withdrawals = withdrawals
        self._known = renderer.dependencies

    def routes(self) -> list[Route]:
        """Return the routes of the page and of what its script sends."""
        return [
            Route(re.compile(f"/withdrawals/({WITHDRAWAL_ID})"), get=self.show),
            Route(re.compile(f"/withdrawals/({WITHDRAWAL_ID})/signature"), post=self.sign),
            Route(re.compile(f"/withdrawals/({WITHDRAWAL_ID})/sent"), post=self.report),
        ]

    async def show(self, request: SessionRequest) -> Response:
        """Show the withdrawal, with buttons for the wallets in the browser while it can be sent."""
        withdrawal = await self._withdrawals.view(request.path_parameter)
        approval = None if withdrawal is None else await self._known.guard.approvals.get(withdrawal.approval_id)
        if withdrawal is None or approval is None or not approval.started:
            return self._renderer.templates.message_response(404, _NO_PAGE)
        return self._page(request, withdrawal, approval)

    async def sign(self, request: SessionRequest, form: Form) -> Response:
        """Return the transaction for a signature of the right account, or one sentence."""
        result = await self._withdrawals.sign(request.path_parameter, form.get("signature", "")[:MAX_TYPED])
        return JSONResponse({"transaction": result.transaction, "message": result.message})

    async def report(self, request: SessionRequest, form: Form) -> Response:
        """Record the hash of a transaction that a wallet sent, and return what became of it."""
        result = await self._withdrawals.sent(request.path_parameter, form.get("hash", "").strip()[:MAX_TYPED])
        return JSONResponse({"stage": result.stage, "message": result.message})

    def _page(self, request: SessionRequest, withdrawal: WithdrawalView, approval: Approval) -> Response:
        title = self._known.titles.get(approval.tool, approval.tool)
        state, tone = _STATES[withdrawal.stage]
        return self._renderer.page(
            request,
            "withdrawal",
            facts=approval_view(approval, title, ()),
            withdrawal=withdrawal,
            state=state,
            tone=tone,
            path=f"/withdrawals/{request.path_parameter}",
            plan=_plan(withdrawal),
        )


def _plan(withdrawal: WithdrawalView) -> str:
    """Return what the page's script needs, as JSON."""
    plan: dict[str, Any] = {
        "stage": withdrawal.stage,
        "chainId": None if withdrawal.chain_id is None else hex(withdrawal.chain_id),
        "sender": withdrawal.sender,
        "typedData": withdrawal.typed_data,
        "transaction": withdrawal.transaction,
        "hash": withdrawal.transaction_hash,
    }
    return json.dumps(plan)

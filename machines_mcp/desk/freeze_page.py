"""Freeze changes with the button of every page, and lift a freeze with the passphrase."""

from __future__ import annotations

import re

from starlette.responses import Response

from machines_mcp.desk.routing import Form, PageRenderer, Route, SessionRequest
from machines_mcp.desk.sign_in import decide_with_passphrase, passphrase_fault
from machines_mcp.storage.freeze import EVERYONE

FREEZE, UNFREEZE = "/freeze", "/unfreeze"

_FROZEN = "Changes are frozen, in every server that uses this state folder. Waiting requests stay."
_LIFTED = "The freeze is lifted. Calls may change something again, within the policy."


class FreezePage:
    """Freezes the changes of the user that the server is pinned to, or else of all users."""

    def __init__(self, renderer: PageRenderer) -> None:
        self._renderer = renderer
        self._freezes = renderer.dependencies.guard.freezes

    def routes(self) -> list[Route]:
        """Return the routes of the page and its two forms."""
        return [
            Route(re.compile(FREEZE), get=self.show, post=self.freeze),
            Route(re.compile(UNFREEZE), post=self.lift),
        ]

    async def show(self, request: SessionRequest) -> Response:
        """Show what is frozen, with a form to lift each freeze."""
        return self._page(request)

    async def freeze(self, request: SessionRequest, form: Form) -> Response:
        """Freeze changes. The session is enough: stopping needs no passphrase."""
        await self._freezes.freeze("desk", self._renderer.dependencies.guard.principal.pinned or EVERYONE)
        return self._renderer.redirect(request, _FROZEN, FREEZE)

    async def lift(self, request: SessionRequest, form: Form) -> Response:
        """Lift one of the freezes that the page shows."""
        user_id = form.get("user_id", EVERYONE)
        if user_id not in [freeze.user_id for freeze in request.freezes]:
            return self._renderer.redirect(request, "This freeze is no longer there.", FREEZE)
        result = await decide_with_passphrase(
            self._renderer,
            form.get("passphrase", ""),
            lambda passphrase: self._freezes.lift("desk", passphrase, user_id),
        )
        if result in ("granted", "gone"):
            return self._renderer.redirect(request, _LIFTED, FREEZE)
        status, fault = await passphrase_fault(self._renderer, result) or (200, "")
        return self._page(request, status, fault, user_id)

    def _page(self, request: SessionRequest, status: int = 200, fault: str = "", at_fault: str = "") -> Response:
        return self._renderer.page(request, "freeze", status, fault=fault, at_fault=at_fault)

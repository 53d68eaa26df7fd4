"""List the cards that the agent locked, and unlock those that a person ticks, with one passphrase."""

from __future__ import annotations

import re

from starlette.responses import Response

from machines_mcp.desk.locked_cards import MOST_LOCKED, LockedCards
from machines_mcp.desk.routing import Form, PageRenderer, Route, SessionRequest
from machines_mcp.desk.sign_in import decide_with_passphrase, passphrase_fault

LOCKED = "/locked"
_TICK = re.compile("lock-([0-9a-f]{32})")
_SEEN = re.compile("[0-9a-f]{64}")
_NONE = "Tick the cards to unlock first."


class LockedPage:
    """The list of locked cards. Approving it takes the same proof as approving one unlock."""

    def __init__(self, renderer: PageRenderer, cards: LockedCards) -> None:
        self._renderer = renderer
        self._cards = cards
        self._guard = renderer.dependencies.guard

    def routes(self) -> list[Route]:
        """Return the route of the list and its form."""
        return [Route(re.compile(LOCKED), get=self.show, post=self.unlock)]

    async def show(self, request: SessionRequest) -> Response:
        """Show the cards that are still locked."""
        return await self._page(request)

    async def unlock(self, request: SessionRequest, form: Form) -> Response:
        """Unlock the ticked cards."""
        found = ((_TICK.fullmatch(name), value) for name, value in form.items())
        ticked = {name[1]: value for name, value in found if name and _SEEN.fullmatch(value)}
        if not ticked:
            return await self._page(request, 422, _NONE)
        result = await decide_with_passphrase(
            self._renderer,
            form.get("passphrase", ""),
            lambda passphrase: self._guard.channels.check_passphrase(passphrase, "desk"),
        )
        if result != "granted":
            status, fault = await passphrase_fault(self._renderer, result) or (409, "Nothing was changed.")
            return await self._page(request, status, fault, ticked)
        return self._renderer.redirect(request, " ".join(await self._cards.unlock(ticked)), LOCKED)

    async def _page(
        self, request: SessionRequest, status: int = 200, fault: str = "", ticked: Form | None = None
    ) -> Response:
        cards, older = await self._cards.shown(), max(0, await self._cards.count() - MOST_LOCKED)
        return self._renderer.page(
            request, "locked", status, cards=cards, older=older, most=MOST_LOCKED, fault=fault, ticked=ticked or {}
        )

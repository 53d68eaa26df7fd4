"""The desk, wired to the server it belongs to: what it is handed, and when its page is opened for the person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from machines_mcp.desk.host import Desk
from machines_mcp.desk.rooms import Fulfilled, Rooms, Take
from machines_mcp.guard.keys import state_key
from machines_mcp.guard.ways import Decision
from machines_mcp.opening import open_page
from machines_mcp.protocol.refusal import Refusal
from machines_mcp.tools.catalogue import TOOLS

if TYPE_CHECKING:
    from machines_mcp.partner import KycValues
    from machines_mcp.server import App


class DeskOf:
    """The desk of one server. `opens_pages`: a person may sit in front of this machine, so a tab may be opened."""

    def __init__(self, app: App, *, opens_pages: bool) -> None:
        self._app = app
        self._opens_pages = opens_pages
        settings = app.settings
        self.desk = Desk(
            Rooms(
                environment=settings.environment.value,
                guard=app.guard,
                key=state_key(settings.state_dir, "desk"),
                titles={tool.name: tool.title for tool in TOOLS},
                kyc_values=self._kyc_values,
                fulfil=self._fulfil,
                pinned_user=settings.user_id,
            )
        )

    async def address(self, path: str = "") -> str | None:
        """Where a person decides, or what is at `path` there; the desk is started for it, and shown where it can be."""
        home = await self.desk.address()
        if home is None:
            return None
        if self._opens_pages:
            open_page(home + path, self._app.settings.state_dir)
        return home + path

    async def _kyc_values(self, user_id: str) -> KycValues:
        return await (await self._app.partner()).kyc.values(user_id)

    async def _fulfil(self, intent_id: str, values: Mapping[str, str], take: Take) -> Fulfilled:
        taken = False

        async def taking() -> Decision:
            nonlocal taken
            decision = await take()
            taken = decision == "granted"
            return decision

        try:
            return Fulfilled(await self._app.load().dispatcher.fulfil(intent_id, values, taking))
        except Refusal as refusal:
            faults = tuple((fault.field, fault.rule) for fault in refusal.faults)
            return Fulfilled("failed" if taken else "faulty", faults, refusal.message)

"""The desk's pages, put together behind the door."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from machines_mcp.desk.approvals_page import Decisions
from machines_mcp.desk.audit_page import Record
from machines_mcp.desk.dependencies import Rooms
from machines_mcp.desk.kyc_page import Identity
from machines_mcp.desk.peer_check import CHALLENGE, PROOF_PATH, proof
from machines_mcp.desk.request_guard import Door
from machines_mcp.desk.routing import Front, Pages
from machines_mcp.desk.sessions import Sessions
from machines_mcp.desk.sign_in import entrance, exit_place, sign_in_page
from machines_mcp.desk.templates import STYLE, Views

_BY = {
    "dialog": "in the client's dialog",
    "desk": "at the desk",
    "terminal": "in a terminal",
    "page": "on the card's page",
    "form": "by sending the form",
    "operator": "by the operator's command",
    "policy": "by the policy, nobody was asked",
}


def application(rooms: Rooms, port: int) -> Door:
    """The desk at `http://127.0.0.1:{port}/`."""
    views = Views(rooms.clock, environment=rooms.environment, simulated=rooms.simulated, by=_BY)
    front = Front(rooms, Sessions(port, for_all=rooms.simulated), views)

    async def style(request: Request) -> Response:
        return Response(STYLE, media_type="text/css")

    async def show_proof(request: Request) -> Response:
        challenge = request.headers.get(CHALLENGE, "")
        if not re.fullmatch(r"[0-9a-f]{64}", challenge):
            return views.plain(404, "There is nothing here.")
        return Response(proof(rooms, challenge, port), media_type="text/plain")

    free = {("GET", "/desk.css"): style, ("GET", PROOF_PATH): show_proof, **entrance(front)}
    places = [*Decisions(front).places(), *Identity(front).places(), *Record(front).places(), exit_place(front)]
    pages = Pages(front, places, free, lambda request, path: sign_in_page(front, request, path))
    return Door(pages, port, views.bare)

"""Assemble the desk's pages behind the request guard."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from machines_mcp.desk.approvals_page import ApprovalsPage
from machines_mcp.desk.audit_page import AuditPage
from machines_mcp.desk.dependencies import DeskDependencies
from machines_mcp.desk.kyc_page import KycPage
from machines_mcp.desk.peer_check import CHALLENGE, PROOF_PATH, proof
from machines_mcp.desk.request_guard import RequestGuard
from machines_mcp.desk.routing import PageRenderer, Pages
from machines_mcp.desk.sessions import Sessions
from machines_mcp.desk.sign_in import sign_in_page, sign_in_place, sign_out_place
from machines_mcp.desk.templates import STYLE, Templates

_BY = {
    "dialog": "in the client's dialog",
    "desk": "at the desk",
    "terminal": "in a terminal",
    "page": "on the card's page",
    "form": "by sending the form",
    "operator": "by an operator command",
    "policy": "by the policy, without asking a person",
}


def build_app(rooms: DeskDependencies, port: int) -> RequestGuard:
    """Return the desk's ASGI application for `http://127.0.0.1:{port}/`."""
    views = Templates(rooms.clock, environment=rooms.environment, simulated=rooms.simulated, by=_BY)
    front = PageRenderer(rooms, Sessions(port, for_all=rooms.simulated), views)

    async def style(request: Request) -> Response:
        return Response(STYLE, media_type="text/css")

    async def show_proof(request: Request) -> Response:
        challenge = request.headers.get(CHALLENGE, "")
        if not re.fullmatch(r"[0-9a-f]{64}", challenge):
            return views.plain(404, "There is no page at this address.")
        return Response(proof(rooms, challenge, port), media_type="text/plain")

    free = {("GET", "/desk.css"): style, ("GET", PROOF_PATH): show_proof, **sign_in_place(front)}
    places = [
        *ApprovalsPage(front).places(),
        *KycPage(front).places(),
        *AuditPage(front).places(),
        sign_out_place(front),
    ]
    pages = Pages(front, places, free, lambda request, path: sign_in_page(front, request, path))
    return RequestGuard(pages, port, views.bare)

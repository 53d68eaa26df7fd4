"""Assemble the desk's pages behind the request guard."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from machines_mcp.desk.approval_view import CLASS_WORDS
from machines_mcp.desk.approvals_page import ApprovalsPage
from machines_mcp.desk.assets import ICONS, STYLE
from machines_mcp.desk.audit_page import AuditPage
from machines_mcp.desk.dependencies import DeskDependencies
from machines_mcp.desk.events import Events
from machines_mcp.desk.freeze_page import FreezePage
from machines_mcp.desk.identity_page import IdentityPage
from machines_mcp.desk.kyc_page import KycPage
from machines_mcp.desk.locked_page import LockedPage
from machines_mcp.desk.request_guard import RequestGuard
from machines_mcp.desk.routing import Form, PageRenderer, Router
from machines_mcp.desk.secret_path import SecretPath
from machines_mcp.desk.sessions import Session, Sessions
from machines_mcp.desk.sign_in import sign_in_again, sign_in_page, sign_in_route, sign_out_route
from machines_mcp.desk.templates import Templates
from machines_mcp.desk.withdrawal_page import WithdrawalPage
from machines_mcp.permissions.approval_details import AUTHORS

_CHANNEL_LABELS = {
    "dialog": "in the client's dialog",
    "desk": "at the desk",
    "terminal": "in a terminal",
    "page": "on the card's page",
    "form": "by sending the form",
    "withdrawn": "by the assistant",
    "operator": "by an operator command",
    "policy": "by the policy, without asking a person",
}


def build_app(dependencies: DeskDependencies, port: int, closing: asyncio.Event) -> SecretPath:
    """Return the desk's ASGI application for `http://127.0.0.1:{port}`. Event streams end when `closing` is set."""
    templates = Templates(
        dependencies.clock,
        base=dependencies.base_path,
        environment=dependencies.environment,
        simulated=dependencies.simulated,
        by=_CHANNEL_LABELS,
        class_words=CLASS_WORDS,
        user_by="" if dependencies.guard.principal.pinned is not None else AUTHORS["agent"],
    )
    renderer = PageRenderer(
        dependencies, Sessions(port, dependencies.base_path, shared=dependencies.simulated), templates
    )

    async def style(request: Request) -> Response:
        return Response(STYLE, media_type="text/css")

    async def icon(request: Request) -> Response:
        return Response(ICONS[str(request.scope["path"])], media_type="image/svg+xml")

    icons = {("GET", path): icon for path in ICONS}
    public_routes = {("GET", "/desk.css"): style, **icons, **sign_in_route(renderer)}
    routes = [
        *ApprovalsPage(renderer).routes(),
        *Events(renderer, closing).routes(),
        *KycPage(renderer).routes(),
        *IdentityPage(renderer).routes(),
        *AuditPage(renderer).routes(),
        *FreezePage(renderer).routes(),
        *(LockedPage(renderer, dependencies.locked_cards).routes() if dependencies.locked_cards else ()),
        *(WithdrawalPage(renderer, dependencies.withdrawals).routes() if dependencies.withdrawals else ()),
        sign_out_route(renderer),
    ]

    def sign_in(request: Request, path: str) -> Response:
        return sign_in_page(renderer, request, path)

    async def again(request: Request, path: str, form: Form) -> Session | Response:
        return await sign_in_again(renderer, request, path, form)

    router = Router(renderer, routes, public_routes, sign_in, again)
    guarded = RequestGuard(router, port, templates.message_page)
    return SecretPath(guarded, dependencies.key, dependencies.fingerprint, port)

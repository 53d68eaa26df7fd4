"""Sign in to the desk with the passphrase (not needed in the simulator), and sign out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from machines_mcp.desk.routing import Form, PageRenderer, Route, SessionRequest, read_form
from machines_mcp.permissions.decision import MESSAGES, Decision
from machines_mcp.redaction.secret import Secret

SIGN_IN, SIGN_OUT = "/sign-in", "/sign-out"

PASSPHRASE_MESSAGES: dict[str, tuple[int, str]] = {
    "empty": (422, "Type your passphrase first."),
    "wrong": (403, MESSAGES["wrong"]),
    "locked": (429, MESSAGES["locked"]),
    "unset": (409, MESSAGES["unset"]),
}
"""HTTP status and message for each passphrase result except success."""


async def decide_with_passphrase(
    renderer: PageRenderer, typed: str, decide: Callable[[Secret | None], Awaitable[Decision]]
) -> Decision | Literal["empty"]:
    """Return the decision for the typed passphrase, or `empty` if one is required and none was typed."""
    return "empty" if await passphrase_missing(renderer, typed) else await check_and_decide(renderer, typed, decide)


async def passphrase_missing(renderer: PageRenderer, typed: str) -> bool:
    """Return whether a required passphrase is missing. A missing one does not count as an attempt."""
    return not typed and not renderer.dependencies.simulated and await renderer.dependencies.guard.passphrase.is_set()


async def check_and_decide(
    renderer: PageRenderer, typed: str, decide: Callable[[Secret | None], Awaitable[Decision]]
) -> Decision:
    """Return the decision for the typed passphrase, checking one at a time."""
    if renderer.dependencies.simulated:
        return await decide(None)
    async with renderer.passphrase_lock:
        return await decide(Secret(typed))


def sign_in_page(renderer: PageRenderer, request: Request, path: str, result: str = "") -> Response:
    """Return the sign-in page, which leads to `path` afterwards."""
    status, fault = PASSPHRASE_MESSAGES.get(result, (401, ""))
    token = renderer.sessions.form_token(None, SIGN_IN)
    # Browsers omit the SameSite=Strict cookie if another site's link leads here. The next request includes it.
    linked = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
    return renderer.templates.page("sign_in", status, path=path, token=token, fault=fault, linked=linked, says=result)


def sign_in_route(renderer: PageRenderer) -> dict[tuple[str, str], Callable[[Request], Awaitable[Response]]]:
    """Return the route that needs no session: the sign-in form."""

    async def sign_in(request: Request) -> Response:
        form = read_form(await request.body())
        if form is None or not renderer.sessions.is_form_token(None, SIGN_IN, form.get("token", "")):
            return renderer.templates.message_response(403, "This form is not from this desk. Open the page again.")
        path = _own_path(form.get("path", ""))
        result = await decide_with_passphrase(
            renderer, form.get("passphrase", ""), renderer.dependencies.guard.channels.check_passphrase
        )
        if result != "granted":
            return sign_in_page(renderer, request, path, result)
        response = renderer.lead_to(path)
        response.headers["Set-Cookie"] = renderer.sessions.cookie_header(renderer.sessions.start())
        return response

    return {("POST", SIGN_IN): sign_in}


def sign_out_route(renderer: PageRenderer) -> Route:
    """Return the sign-out route."""

    async def sign_out(request: SessionRequest, form: Form) -> Response:
        renderer.sessions.end(request.session)
        response = renderer.lead_to("/")
        response.headers["Set-Cookie"] = renderer.sessions.cookie_header(None)
        return response

    return Route(re.compile(SIGN_OUT), post=sign_out)


def _own_path(path: str) -> str:
    return path if re.fullmatch(r"/(?:audit|freeze|(?:kyc|decisions)/[0-9a-f]{32})?", path) else "/"
